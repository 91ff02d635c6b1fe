"""Parts of a layer: what `celosia.compiler.graph` builds encoders of."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["ACTIVATIONS", "Attention", "Block", "FeedForward", "Linear", "Norm", "check"]

ACTIVATIONS = ("gelu", "gelu_tanh", "relu", "silu", "quick_gelu", "tanh")
"""Names of the activation functions; `gelu` is the exact one, by erf."""


def check(name: str, what: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    """Demand float32 and a shape of one tensor of the part `name`."""
    if array.dtype != np.float32:
        raise TypeError(f"{name}: {what} must be float32, not {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"{name}: {what} must have shape {shape}, not {array.shape}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear:
    """`y = x @ weight.T + bias`.

    Parameters
    ----------
    name : str
        Name in the checkpoint, for messages.
    weight : ndarray of float32, shape (out, in)
        Weights.
    bias : ndarray of float32, shape (out,), optional
        Bias; None for none.
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.weight.ndim != 2:
            raise ValueError(f"{self.name}: weight must have 2 axes, not {self.weight.ndim}")
        check(self.name, "weight", self.weight, self.weight.shape)
        if self.bias is not None:
            check(self.name, "bias", self.bias, (self.outputs,))

    @property
    def outputs(self) -> int:
        """Elements of a row going out."""
        return self.weight.shape[0]

    @property
    def inputs(self) -> int:
        """Elements of a row coming in, the length of the reduction."""
        return self.weight.shape[1]


@dataclass(frozen=True, kw_only=True, eq=False)
class Norm:
    """LayerNorm of a row: `(x - mean) / sqrt(variance + eps) * gamma + beta`.

    Parameters
    ----------
    name : str
        Name in the checkpoint, for messages.
    gamma, beta : ndarray of float32, shape (width,)
        Scale and shift.
    eps : float
        Added to the variance.
    """

    name: str
    gamma: np.ndarray
    beta: np.ndarray
    eps: float

    def __post_init__(self) -> None:
        check(self.name, "gamma", self.gamma, (self.gamma.size,))
        check(self.name, "beta", self.beta, self.gamma.shape)
        if not self.eps > 0:
            raise ValueError(f"{self.name}: eps must be positive, not {self.eps}")

    @property
    def width(self) -> int:
        """Elements of a row."""
        return self.gamma.size


@dataclass(frozen=True, kw_only=True, eq=False)
class Attention:
    """Self-attention with `heads` heads of `head_dim`, every token to every token.

    The rows of `q`, `k`, `v` are heads in order, `head_dim` each; logits are `q·k` divided by
    the square root of `head_dim`. `heads * head_dim` need not be the encoder's width.

    Parameters
    ----------
    heads, head_dim : int
        Number of heads and the width of one.
    q, k, v : Linear
        hidden → heads * head_dim.
    o : Linear
        heads * head_dim → hidden.
    """

    heads: int
    head_dim: int
    q: Linear
    k: Linear
    v: Linear
    o: Linear

    def __post_init__(self) -> None:
        hidden, width = self.q.inputs, self.heads * self.head_dim
        for part in (self.q, self.k, self.v):
            check(part.name, "weight", part.weight, (width, hidden))
        check(self.o.name, "weight", self.o.weight, (hidden, width))


@dataclass(frozen=True, kw_only=True, eq=False)
class FeedForward:
    """`down(activation(up(x)))`.

    Parameters
    ----------
    up : Linear
        hidden → intermediate.
    activation : str
        One of `ACTIVATIONS`.
    down : Linear
        intermediate → hidden.
    """

    up: Linear
    activation: str
    down: Linear

    def __post_init__(self) -> None:
        check(self.down.name, "weight", self.down.weight, self.up.weight.shape[::-1])
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {ACTIVATIONS}, not {self.activation!r}")


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """One layer of an encoder.

    order "post" (BERT): `x = norm1(x + attention(x))`, `x = norm2(x + ffn(x))`.
    order "pre" (ViT): `x = x + attention(norm1(x))`, `x = x + ffn(norm2(x))`.
    """

    attention: Attention
    ffn: FeedForward
    norm1: Norm
    norm2: Norm
    order: Literal["pre", "post"]

    def __post_init__(self) -> None:
        hidden = self.attention.q.inputs
        if self.order not in ("pre", "post"):
            raise ValueError(f"order must be 'pre' or 'post', not {self.order!r}")
        if self.ffn.up.inputs != hidden:
            raise ValueError(f"{self.ffn.up.name}: {self.ffn.up.inputs} inputs, not {hidden}")
        for norm in (self.norm1, self.norm2):
            check(norm.name, "gamma", norm.gamma, (hidden,))
