"""Parts of a decoder's layer: what `celosia.compiler.decoder` builds decoders of."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from celosia.compiler.graph_parts import ACTIVATIONS, Linear, check

__all__ = ["DecoderBlock", "GatedFeedForward", "GroupedAttention", "RmsNorm", "Rope"]


@dataclass(frozen=True, kw_only=True, eq=False)
class RmsNorm:
    """RMSNorm of a row: `x / sqrt(mean(x²) + eps) * gamma`.

    Parameters
    ----------
    name : str
        Name in the checkpoint, for messages.
    gamma : ndarray of float32, shape (width,)
        Scale.
    eps : float
        Added to the mean square.
    """

    name: str
    gamma: np.ndarray
    eps: float

    def __post_init__(self) -> None:
        check(self.name, "gamma", self.gamma, (self.gamma.size,))
        if not self.eps > 0:
            raise ValueError(f"{self.name}: eps must be positive, not {self.eps}")

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.gamma.size


@dataclass(frozen=True, kw_only=True, eq=False)
class Rope:
    """Rotary positions: pair i of a head turns by `position * base**(-2i / head_dim)`.

    A pair (a, b) becomes `(a cos - b sin, a sin + b cos)`.

    Parameters
    ----------
    base : float
        Base of the frequencies, more than 1.
    layout : {"half", "adjacent"}
        Which elements are pair i: i and i + head_dim/2, or 2i and 2i + 1.
    """

    base: float
    layout: Literal["half", "adjacent"]

    def __post_init__(self) -> None:
        if not (self.base > 1 and math.isfinite(self.base)):
            raise ValueError(f"rope: base must be finite and more than 1, not {self.base}")
        if self.layout not in ("half", "adjacent"):
            raise ValueError(f"rope: layout must be 'half' or 'adjacent', not {self.layout!r}")

    def angles(self, positions: np.ndarray, head_dim: int) -> np.ndarray:
        """Return the angle of each pair, float64 of shape (len(positions), head_dim // 2)."""
        frequencies = self.base ** (-np.arange(0, head_dim, 2) / head_dim)
        return np.asarray(positions, np.float64)[:, None] * frequencies


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupedAttention:
    """Causal self-attention in which `heads / kv_heads` heads in a row share keys and values.

    The rows of `q`, `k`, `v` are heads in order, `head_dim` each; q and k are turned by the
    decoder's `rope`, logits are `q·k` divided by the square root of `head_dim`.

    Parameters
    ----------
    heads, kv_heads, head_dim : int
        Number of heads, of heads that keys and values have, and the width of one, which is even.
    q : Linear
        hidden → heads * head_dim.
    k, v : Linear
        hidden → kv_heads * head_dim.
    o : Linear
        heads * head_dim → hidden.
    """

    heads: int
    kv_heads: int
    head_dim: int
    q: Linear
    k: Linear
    v: Linear
    o: Linear

    def __post_init__(self) -> None:
        if min(self.heads, self.kv_heads) < 1 or self.heads % self.kv_heads:
            raise ValueError(
                f"{self.q.name}: heads must be a multiple of kv_heads, not {self.heads} "
                f"of {self.kv_heads}"
            )
        if self.head_dim < 2 or self.head_dim % 2:
            raise ValueError(f"{self.q.name}: head_dim must be even, not {self.head_dim}")
        hidden, width = self.q.inputs, self.heads * self.head_dim
        check(self.q.name, "weight", self.q.weight, (width, hidden))
        for part in (self.k, self.v):
            check(part.name, "weight", part.weight, (self.kv_heads * self.head_dim, hidden))
        check(self.o.name, "weight", self.o.weight, (hidden, width))


@dataclass(frozen=True, kw_only=True, eq=False)
class GatedFeedForward:
    """`down(activation(gate(x)) * up(x))`: SwiGLU with `silu`, GEGLU with `gelu`.

    Parameters
    ----------
    gate, up : Linear
        hidden → intermediate.
    down : Linear
        intermediate → hidden.
    activation : str
        One of `ACTIVATIONS`.
    """

    gate: Linear
    up: Linear
    down: Linear
    activation: str

    def __post_init__(self) -> None:
        check(self.up.name, "weight", self.up.weight, self.gate.weight.shape)
        check(self.down.name, "weight", self.down.weight, self.gate.weight.shape[::-1])
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {ACTIVATIONS}, not {self.activation!r}")


@dataclass(frozen=True, kw_only=True, eq=False)
class DecoderBlock:
    """One layer: `x = x + attention(norm1(x))`, `x = x + ffn(norm2(x))`."""

    attention: GroupedAttention
    ffn: GatedFeedForward
    norm1: RmsNorm
    norm2: RmsNorm

    def __post_init__(self) -> None:
        hidden = self.attention.q.inputs
        if self.ffn.gate.inputs != hidden:
            raise ValueError(f"{self.ffn.gate.name}: {self.ffn.gate.inputs} inputs, not {hidden}")
        for norm in (self.norm1, self.norm2):
            check(norm.name, "gamma", norm.gamma, (hidden,))

    @property
    def linears(self) -> tuple[Linear, ...]:
        """Its weight matrices, in the order of use."""
        attention, ffn = self.attention, self.ffn
        return attention.q, attention.k, attention.v, attention.o, ffn.gate, ffn.up, ffn.down
