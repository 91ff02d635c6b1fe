"""Float reference of an encoder, with a tap on every intermediate tensor.

It takes the compiler's graph by its attributes alone, so that this package needs no compiler.
Nothing here is quantised: it says what the machine's integers are meant to be, and its taps are
what the compiler calibrates on.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["Ranges", "Tap", "activate", "cosine", "forward", "layer_norm", "softmax", "taps"]

Tap = Callable[[str, np.ndarray], None]
"""Called with the name of each intermediate tensor and its values."""


def erf(x: np.ndarray) -> np.ndarray:
    """Error function of each element, as exact as the C library's."""
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(x), dtype=x.dtype)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """`1 / (1 + exp(-x))`, which never overflows in this form."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def gelu_tanh(x: np.ndarray) -> np.ndarray:
    """GELU by its tanh approximation."""
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": gelu_tanh,
    "relu": lambda x: np.maximum(x, 0),
    "silu": lambda x: x * sigmoid(x),
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "tanh": np.tanh,
}


def activate(name: str, x: np.ndarray) -> np.ndarray:
    """Apply an activation function by its name in the graph, element by element."""
    return FUNCTIONS[name](x)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis; a row that is all -inf is not allowed."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def layer_norm(norm: Any, x: np.ndarray) -> np.ndarray:
    """LayerNorm over the last axis, by `norm.gamma`, `norm.beta` and `norm.eps`."""
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    return centred / np.sqrt(variance + norm.eps) * norm.gamma + norm.beta


def linear(part: Any, x: np.ndarray) -> np.ndarray:
    """`x @ weight.T + bias`, in the type of `x`."""
    y = x @ part.weight.T.astype(x.dtype, copy=False)
    return y if part.bias is None else y + part.bias


def forward(
    encoder: Any,
    inputs: np.ndarray,
    mask: np.ndarray | None = None,
    tap: Tap | None = None,
    *,
    dtype: type = np.float64,
) -> dict[str, np.ndarray | None]:
    """Run an encoder on one input.

    Parameters
    ----------
    encoder : Encoder
        A graph of `celosia.compiler.graph`.
    inputs : ndarray
        Token ids of shape (tokens,), or an image of shape (channels, height, width).
    mask : ndarray of bool, shape (tokens,), optional
        True for the tokens that are real: no other is attended to or pooled. All by default.
    tap : callable, optional
        Called with the name and values of each intermediate tensor, see `taps`.
    dtype : type
        Type that everything is computed in.

    Returns
    -------
    dict
        "hidden" (tokens, hidden): the rows behind the last block and the final norm;
        "pooled" (hidden,): None if the encoder does not pool;
        "logits" (classes,): None without a head.
    """
    record = tap or (lambda name, values: None)
    x = embed(encoder, np.asarray(inputs), record, dtype)
    real = np.ones(len(x), bool) if mask is None else np.asarray(mask, bool)
    if real.shape != (len(x),) or not real.any():
        raise ValueError(f"mask must have shape {(len(x),)} and some token, not {real.shape}")
    for i, block in enumerate(encoder.blocks):
        x = run_block(block, x, real, lambda what, values, i=i: record(f"block{i}.{what}", values))
    if encoder.final_norm is not None:
        x = layer_norm(encoder.final_norm, x)
        record("final_norm", x)

    pooled = logits = None
    if encoder.pooling != "none":
        pooled = x[real].mean(axis=0) if encoder.pooling == "mean" else x[0]
        record("pooled", pooled)
        if encoder.head is not None:
            logits = linear(encoder.head, pooled)
            record("logits", logits)
    return {"hidden": x, "pooled": pooled, "logits": logits}


def embed(encoder: Any, inputs: np.ndarray, record: Tap, dtype: type) -> np.ndarray:
    """Turn token ids or an image into the rows that the first block takes."""
    x = encoder.embedding.rows(inputs).astype(dtype)
    record("embedding.rows", x)
    if encoder.family == "vit":
        x = x @ encoder.embedding.projection.weight.T.astype(dtype)
        record("embedding.product", x)
        x = x + encoder.embedding.offsets
    record("embedding.sum", x)
    if encoder.embedding_norm is not None:
        x = layer_norm(encoder.embedding_norm, x)
        record("embedding.norm", x)
    return x


def run_block(block: Any, x: np.ndarray, real: np.ndarray, record: Tap) -> np.ndarray:
    """Run one layer, its norms before or behind each half."""
    pre = block.order == "pre"
    norms = {"norm1": block.norm1, "norm2": block.norm2}

    def half(x: np.ndarray, name: str, run: Callable[[np.ndarray], np.ndarray], residual: str):
        def normed(values: np.ndarray) -> np.ndarray:
            values = layer_norm(norms[name], values)
            record(name, values)
            return values

        x = x + run(normed(x) if pre else x)
        record(residual, x)
        return x if pre else normed(x)

    x = half(x, "norm1", lambda y: attend(block.attention, y, real, record), "attention.sum")
    return half(x, "norm2", lambda y: feed_forward(block.ffn, y, record), "ffn.sum")


def attend(attention: Any, x: np.ndarray, real: np.ndarray, record: Tap) -> np.ndarray:
    """Let every token attend to every real one."""
    shape = (len(x), attention.heads, attention.head_dim)
    rows = {what: linear(getattr(attention, what), x) for what in ("q", "k", "v")}
    for what, values in rows.items():
        record(what, values)
    q, k, v = (values.reshape(shape).transpose(1, 0, 2) for values in rows.values())

    logits = q @ k.transpose(0, 2, 1) / math.sqrt(attention.head_dim)
    record("logits", logits[:, :, real])
    probabilities = softmax(np.where(real, logits, -np.inf))
    record("probabilities", probabilities)
    context = (probabilities @ v).transpose(1, 0, 2).reshape(len(x), -1)
    record("context", context)
    out = linear(attention.o, context)
    record("attention.out", out)
    return out


def feed_forward(ffn: Any, x: np.ndarray, record: Tap) -> np.ndarray:
    """Run the feed-forward half."""
    wide = linear(ffn.up, x)
    record("ffn.up", wide)
    wide = activate(ffn.activation, wide)
    record("ffn.act", wide)
    out = linear(ffn.down, wide)
    record("ffn.down", out)
    return out


def taps(encoder: Any) -> tuple[str, ...]:
    """List the names that `forward` gives its tap, in order.

    Of shape (tokens, width), except `logits` and `probabilities` of a block, (heads, tokens,
    tokens), and the last, `pooled` and `logits`, (width,). Rows are those of the embedding:
    padded patches for an image, whose class token's is zero.
    """
    vit = encoder.family == "vit"
    names = ["embedding.rows", *(["embedding.product"] if vit else []), "embedding.sum"]
    names += ["embedding.norm"] if encoder.embedding_norm is not None else []
    attention = ["q", "k", "v", "logits", "probabilities", "context", "attention.out"]
    ffn = ["ffn.up", "ffn.act", "ffn.down"]
    for i, block in enumerate(encoder.blocks):
        first, second = [*attention, "attention.sum"], [*ffn, "ffn.sum"]
        pre = block.order == "pre"
        order = ["norm1", *first, "norm2", *second] if pre else [*first, "norm1", *second, "norm2"]
        names += [f"block{i}.{what}" for what in order]
    names += ["final_norm"] if encoder.final_norm is not None else []
    names += ["pooled"] if encoder.pooling != "none" else []
    return (*names, *(["logits"] if encoder.head is not None else []))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine of the angle between two vectors."""
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


class Ranges:
    """A tap that keeps the range of every tensor over all the inputs it saw.

    Parameters
    ----------
    percentile : float
        Of the magnitudes; the largest that any one input showed is kept.

    Attributes
    ----------
    low, high, percentile_high : dict of str to float
        Least and greatest value, and percentile of the magnitude, by name of the tensor.
    columns, heads : dict of str to ndarray
        Greatest magnitude of each column of a (tokens, width) tensor, and of each head of a
        (heads, tokens, tokens) one.
    """

    def __init__(self, percentile: float = 99.9) -> None:
        self.percentile = percentile
        self.low: dict[str, float] = {}
        self.high: dict[str, float] = {}
        self.percentile_high: dict[str, float] = {}
        self.columns: dict[str, np.ndarray] = {}
        self.heads: dict[str, np.ndarray] = {}

    def __call__(self, name: str, values: np.ndarray) -> None:
        """Take one tensor in."""
        magnitudes = np.abs(values)
        self.low[name] = min(self.low.get(name, math.inf), float(values.min()))
        self.high[name] = max(self.high.get(name, -math.inf), float(values.max()))
        tail = float(np.percentile(magnitudes, self.percentile))
        self.percentile_high[name] = max(self.percentile_high.get(name, 0.0), tail)
        kept = self.heads if values.ndim == 3 else self.columns
        axes = (1, 2) if values.ndim == 3 else tuple(range(values.ndim - 1))
        peaks = magnitudes.max(axis=axes)
        kept[name] = np.maximum(kept[name], peaks) if name in kept else peaks

    def largest(self, name: str) -> float:
        """Return the greatest magnitude of a tensor."""
        return max(-self.low[name], self.high[name])
