"""What the families have in common: how a checkpoint becomes parts of the graph."""

from celosia.compiler.graph import ACTIVATIONS, Attention, Linear, Norm
from celosia.compiler.importers.source import Source
from celosia.errors import ModelError

__all__ = ["activation", "attention", "attention_shape", "linear", "norm"]

ALIASES = {
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "swish": "silu",
}


def linear(source: Source, name: str, outputs: int, inputs: int, *, bias: bool = True) -> Linear:
    """Read `name.weight` and, if wanted, `name.bias`."""
    return Linear(
        name=name,
        weight=source.tensor(f"{name}.weight", (outputs, inputs)),
        bias=source.tensor(f"{name}.bias", (outputs,)) if bias else None,
    )


def norm(source: Source, name: str, width: int) -> Norm:
    """Read a LayerNorm; old checkpoints call its tensors gamma and beta."""
    old = f"{name}.gamma" in source
    return Norm(
        name=name,
        gamma=source.tensor(f"{name}.{'gamma' if old else 'weight'}", (width,)),
        beta=source.tensor(f"{name}.{'beta' if old else 'bias'}", (width,)),
        eps=source.number("layer_norm_eps"),
    )


def attention(source: Source, qkv: str, out: str, *, qkv_bias: bool = True) -> Attention:
    """Read self-attention from `qkv.query`, `qkv.key`, `qkv.value` and `out`."""
    hidden = source.integer("hidden_size")
    heads, head_dim = attention_shape(source)
    parts = (
        linear(source, f"{qkv}.{part}", heads * head_dim, hidden, bias=qkv_bias)
        for part in ("query", "key", "value")
    )
    q, k, v = parts
    o = linear(source, out, hidden, heads * head_dim)
    return Attention(heads=heads, head_dim=head_dim, q=q, k=k, v=v, o=o)


def attention_shape(source: Source) -> tuple[int, int]:
    """Return the number of heads and the width of one, `head_dim` if the configuration has it."""
    hidden, heads = source.integer("hidden_size"), source.integer("num_attention_heads")
    if source.config.get("head_dim") is not None:
        return heads, source.integer("head_dim")
    if hidden % heads:
        raise ModelError(
            f"{source.config_path}: hidden_size {hidden} must be a multiple of "
            f"num_attention_heads {heads}, or head_dim must be given"
        )
    return heads, hidden // heads


def activation(source: Source) -> str:
    """Return the graph's name of the activation function."""
    given = source.value("hidden_act")
    name = ALIASES.get(given, given) if isinstance(given, str) else given
    if name not in ACTIVATIONS:
        known = ", ".join((*ACTIVATIONS, *ALIASES))
        raise ModelError(
            f"{source.config_path}: activation hidden_act = {given!r} is not supported; "
            f"known are {known}"
        )
    return name
