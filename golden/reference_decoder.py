"""Float reference of a decoder, with a tap on every intermediate tensor.

Like `golden.reference`, it takes the compiler's graph by its attributes alone and quantises
nothing. It keeps no cache: a sequence is computed as a whole, each token seeing those before it.
"""

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import numpy as np

from celosia.golden.reference import Tap, activate, linear, softmax

__all__ = ["forward", "generate", "nll", "rms_norm", "rotate", "taps"]

Product = Callable[[Any, np.ndarray], np.ndarray]
"""What multiplies rows by a matrix of the graph."""

BLOCK_TAPS = (
    *("norm1", "q", "k", "v", "q_rope", "k_rope", "context", "attn", "mid"),
    *("norm2", "gate_linear", "gate", "up", "product", "down", "out"),
)


def rms_norm(norm: Any, x: np.ndarray) -> np.ndarray:
    """RMSNorm over the last axis, by `norm.gamma` and `norm.eps`."""
    square = np.square(x).mean(axis=-1, keepdims=True)
    return x / np.sqrt(square + norm.eps) * norm.gamma


def rotate(x: np.ndarray, angles: np.ndarray, layout: str) -> np.ndarray:
    """Turn each pair of each head by its angle.

    Parameters
    ----------
    x : ndarray, shape (tokens, heads, head_dim)
        Queries or keys.
    angles : ndarray, shape (tokens, head_dim // 2)
        Angle of each pair of a token's heads.
    layout : {"half", "adjacent"}
        Pair i is elements i and i + head_dim/2, or 2i and 2i + 1.

    Returns
    -------
    ndarray
        In the shape and type of `x`.
    """
    cos, sin = (part(angles)[:, None].astype(x.dtype) for part in (np.cos, np.sin))
    half = x.shape[-1] // 2
    first = slice(0, half) if layout == "half" else slice(0, None, 2)
    second = slice(half, None) if layout == "half" else slice(1, None, 2)
    a, b = x[..., first], x[..., second]
    y = np.empty_like(x)
    y[..., first], y[..., second] = a * cos - b * sin, a * sin + b * cos
    return y


def forward(
    decoder: Any,
    tokens: np.ndarray,
    tap: Tap | None = None,
    *,
    dtype: type = np.float64,
    product: Product = linear,
) -> np.ndarray:
    """Run a decoder on one sequence.

    Parameters
    ----------
    decoder : Decoder
        A graph of `celosia.compiler.decoder`.
    tokens : ndarray of int, shape (tokens,)
        Token ids, at the positions 0, 1, …
    tap : callable, optional
        Called with the name and values of each intermediate tensor, see `taps`.
    dtype : type
        Type that everything is computed in.
    product : callable
        Takes a `Linear` of the graph and rows, and returns what it makes of them: the place for
        a rounding to try.

    Returns
    -------
    ndarray, shape (tokens, vocabulary)
        Logits of the token behind each.
    """
    record = tap or (lambda name, values: None)
    x = decoder.rows(np.asarray(tokens)).astype(dtype)
    record("embedding", x)
    for i, block in enumerate(decoder.blocks):

        def record_block(what: str, values: np.ndarray, i: int = i) -> None:
            record(f"block{i}.{what}", values)

        x = run_block(block, decoder.rope, x, record_block, product)
    x = rms_norm(decoder.final_norm, x)
    record("final_norm", x)
    logits = product(decoder.head, x)
    record("logits", logits)
    return logits


def run_block(
    block: Any, rope: Any, x: np.ndarray, record: Tap, product: Product = linear
) -> np.ndarray:
    """Run one layer."""
    normed = rms_norm(block.norm1, x)
    record("norm1", normed)
    x = x + attend(block.attention, rope, normed, record, product)
    record("mid", x)
    normed = rms_norm(block.norm2, x)
    record("norm2", normed)
    x = x + feed_forward(block.ffn, normed, record, product)
    record("out", x)
    return x


def attend(
    attention: Any, rope: Any, x: np.ndarray, record: Tap, product: Product = linear
) -> np.ndarray:
    """Let every token attend to itself and those before it."""
    tokens, width = len(x), attention.head_dim
    heads: dict[str, np.ndarray] = {}
    for what in ("q", "k", "v"):
        rows = product(getattr(attention, what), x)
        record(what, rows)
        heads[what] = rows.reshape(tokens, -1, width)
    angles = rope.angles(np.arange(tokens), width)
    for what in ("q", "k"):
        heads[what] = rotate(heads[what], angles, rope.layout)
        record(f"{what}_rope", heads[what].reshape(tokens, -1))

    group = attention.heads // attention.kv_heads
    q = heads["q"].transpose(1, 0, 2)
    k, v = (np.repeat(heads[what], group, axis=1).transpose(1, 0, 2) for what in ("k", "v"))
    logits = q @ k.transpose(0, 2, 1) / math.sqrt(width)
    seen = np.tri(tokens, dtype=bool)
    context = softmax(np.where(seen, logits, -np.inf)) @ v
    context = context.transpose(1, 0, 2).reshape(tokens, -1)
    record("context", context)
    out = product(attention.o, context)
    record("attn", out)
    return out


def feed_forward(ffn: Any, x: np.ndarray, record: Tap, product: Product = linear) -> np.ndarray:
    """Run the gated feed-forward half."""
    gate = product(ffn.gate, x)
    record("gate_linear", gate)
    gate = activate(ffn.activation, gate)
    record("gate", gate)
    up = product(ffn.up, x)
    record("up", up)
    gated = gate * up
    record("product", gated)
    down = product(ffn.down, gated)
    record("down", down)
    return down


def taps(decoder: Any) -> tuple[str, ...]:
    """List the names that `forward` gives its tap, in order; each is (tokens, width).

    Of a block: `q`, `k`, `v` before and `q_rope`, `k_rope` after they are turned, `context` in
    front of the output projection and `attn` behind it, `mid` and `out` behind the residuals,
    `gate_linear` before and `gate` after the activation.
    """
    blocks = (f"block{i}.{what}" for i in range(len(decoder.blocks)) for what in BLOCK_TAPS)
    return ("embedding", *blocks, "final_norm", "logits")


def nll(logits: np.ndarray, tokens: np.ndarray) -> float:
    """Mean negative log-likelihood of each token but the first, by the logits in front of it."""
    tokens, scores = np.asarray(tokens)[1:], logits[:-1].astype(np.float64)
    peak = scores.max(axis=-1, keepdims=True)
    total = np.log(np.exp(scores - peak).sum(axis=-1)) + peak[:, 0]
    return float((total - scores[np.arange(len(tokens)), tokens]).mean())


def generate(
    decoder: Any, prompt: Sequence[int], count: int, stop: Collection[int] = ()
) -> Iterator[int]:
    """Yield up to `count` most likely tokens behind a prompt, ending before one of `stop`."""
    tokens = list(prompt)
    for _ in range(count):
        best = int(forward(decoder, np.array(tokens))[-1].argmax())
        if best in stop:
            return
        yield best
        tokens.append(best)
