"""What the formats of decoders have in common: how a checkpoint becomes a graph of layers.

A format gives the names of its tensors and the sizes that its configuration asks for; each tensor
is then read by name and checked against them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from celosia.compiler.decoder import (
    Decoder,
    DecoderBlock,
    GatedFeedForward,
    GroupedAttention,
    RmsNorm,
    Rope,
)
from celosia.compiler.graph_parts import Linear
from celosia.compiler.importers.source import Source
from celosia.errors import ModelError

__all__ = ["Sizes", "build_decoder"]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What a configuration says of a decoder; `Decoder` and its parts explain the words.

    Parameters
    ----------
    biases : frozenset of str
        Parts of a layer that have a bias: "q", "k", "v", "o", "gate", "up", "down".
    transposed : bool
        Matrices are stored (in, out), not (out, in).
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    context: int
    eps: float
    activation: str
    rope: Rope
    tied: bool
    biases: frozenset[str] = frozenset()
    transposed: bool = False


def build_decoder(source: Source, names: Mapping[str, str], sizes: Sizes) -> Decoder:
    """Read a decoder.

    Parameters
    ----------
    source : Source
        The checkpoint.
    names : mapping of str to str
        Names of the tensors "embedding", "final_norm", "head" and, with `{i}` for the layer,
        "norm1", "q", "k", "v", "o", "norm2", "gate", "up", "down". A bias is called like its
        matrix, `bias` for `weight`.
    sizes : Sizes
        What the tensors must be.

    Raises
    ------
    ModelError
        If a tensor is missing or wrong, or the sizes do not fit together.
    """
    if sizes.heads % sizes.kv_heads:
        raise ModelError(
            f"{source.config_path}: the number of heads must be a multiple of that of key and "
            f"value heads, not {sizes.heads} of {sizes.kv_heads}"
        )
    if sizes.head_dim % 2:
        raise ModelError(
            f"{source.config_path}: rotary positions turn pairs, so a head must be even, not "
            f"{sizes.head_dim} wide"
        )
    embedding = source.tensor(names["embedding"], (sizes.vocabulary, sizes.hidden))
    head = Linear(name=names["embedding"].removesuffix(".weight"), weight=embedding)
    if not sizes.tied:
        head = read_linear(source, names, "head", sizes.vocabulary, sizes.hidden, sizes)
    return Decoder(
        name=source.name,
        hidden=sizes.hidden,
        embedding=embedding,
        blocks=tuple(
            read_block(source, {part: name.format(i=i) for part, name in names.items()}, sizes)
            for i in range(sizes.layers)
        ),
        final_norm=read_norm(source, names["final_norm"], sizes),
        head=head,
        tied=sizes.tied,
        rope=sizes.rope,
        context=sizes.context,
    )


def read_block(source: Source, names: Mapping[str, str], sizes: Sizes) -> DecoderBlock:
    """Read one layer, whose tensors have these names."""
    wide, narrow = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    shapes = {
        "q": (wide, sizes.hidden),
        "k": (narrow, sizes.hidden),
        "v": (narrow, sizes.hidden),
        "o": (sizes.hidden, wide),
        "gate": (sizes.intermediate, sizes.hidden),
        "up": (sizes.intermediate, sizes.hidden),
        "down": (sizes.hidden, sizes.intermediate),
    }
    linears = {
        part: read_linear(source, names, part, outputs, inputs, sizes)
        for part, (outputs, inputs) in shapes.items()
    }
    return DecoderBlock(
        norm1=read_norm(source, names["norm1"], sizes),
        attention=GroupedAttention(
            heads=sizes.heads,
            kv_heads=sizes.kv_heads,
            head_dim=sizes.head_dim,
            **{part: linears[part] for part in ("q", "k", "v", "o")},
        ),
        norm2=read_norm(source, names["norm2"], sizes),
        ffn=GatedFeedForward(
            **{part: linears[part] for part in ("gate", "up", "down")},
            activation=sizes.activation,
        ),
    )


def read_linear(
    source: Source, names: Mapping[str, str], part: str, outputs: int, inputs: int, sizes: Sizes
) -> Linear:
    """Read one matrix, and its bias if it has one."""
    name = names[part]
    if sizes.transposed:
        weight = source.tensor(name, (inputs, outputs)).T.copy()
    else:
        weight = source.tensor(name, (outputs, inputs))
    bias = None
    if part in sizes.biases:
        bias = source.tensor(f"{name.removesuffix('weight')}bias", (outputs,))
    return Linear(name=name.removesuffix(".weight"), weight=weight, bias=bias)


def read_norm(source: Source, name: str, sizes: Sizes) -> RmsNorm:
    """Read an RMSNorm."""
    gamma = source.tensor(name, (sizes.hidden,))
    return RmsNorm(name=name.removesuffix(".weight"), gamma=gamma, eps=sizes.eps)
