"""Names of a model's matrices, and the tensors that they multiply.

The same names serve encoders and decoders: `block0.q` … `block0.down`, `patch` and `head`.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from celosia.compiler.decoder import Decoder
from celosia.compiler.graph import Encoder, Linear, PatchEmbedding
from celosia.compiler.precision import matrices

__all__ = ["Model", "named_linears", "replace_weights", "sources"]

Model = Encoder | Decoder

ATTENTION = ("q", "k", "v", "o")


def named_linears(model: Model) -> dict[str, Linear]:
    """Return every matrix by its name, in the order of use."""
    if isinstance(model, Decoder):
        return matrices(model)
    embedding = model.embedding
    found = {"patch": embedding.projection} if isinstance(embedding, PatchEmbedding) else {}
    for index, block in enumerate(model.blocks):
        for what in ATTENTION:
            found[f"block{index}.{what}"] = getattr(block.attention, what)
        found[f"block{index}.up"] = block.ffn.up
        found[f"block{index}.down"] = block.ffn.down
    return found | ({"head": model.head} if model.head else {})


def sources(model: Model) -> dict[str, str]:
    """Return for each matrix the tensor that it multiplies, as the float reference calls it.

    An encoder's head multiplies "hidden", which the reference returns.
    """
    if isinstance(model, Decoder):
        inner = {"q": "norm1", "k": "norm1", "v": "norm1", "o": "context"}
        inner |= {"gate": "norm2", "up": "norm2", "down": "product"}
        found = {
            f"block{index}.{what}": f"block{index}.{tensor}"
            for index in range(len(model.blocks))
            for what, tensor in inner.items()
        }
        return found | {"head": "final_norm"}
    found = {"patch": "embedding.rows"} if isinstance(model.embedding, PatchEmbedding) else {}
    stream = "embedding.norm" if model.embedding_norm is not None else "embedding.sum"
    for index, block in enumerate(model.blocks):
        name, pre = f"block{index}", block.order == "pre"
        read = f"{name}.norm1" if pre else stream
        found |= {f"{name}.{what}": read for what in "qkv"}
        found[f"{name}.o"] = f"{name}.context"
        found[f"{name}.up"] = f"{name}.norm2" if pre else f"{name}.norm1"
        found[f"{name}.down"] = f"{name}.ffn.act"
        stream = f"{name}.ffn.sum" if pre else f"{name}.norm2"
    return found | ({"head": "hidden"} if model.head else {})


def replace_weights(
    model: Model,
    weights: Mapping[str, np.ndarray],
    biases: Mapping[str, np.ndarray] | None = None,
) -> Model:
    """Return a model with other weights, and other biases, in some of its matrices.

    Raises
    ------
    KeyError
        If there is no such matrix.
    """
    biases = biases or {}
    linears = named_linears(model)

    def part(name: str) -> Linear:
        found = linears[name]
        if name in weights:
            found = replace(found, weight=weights[name].astype(np.float32))
        if name in biases:
            found = replace(found, bias=biases[name].astype(np.float32))
        return found

    for name in (*weights, *biases):
        part(name)
    blocks = []
    for index, block in enumerate(model.blocks):
        halves = {}
        for half in ("attention", "ffn"):
            whole = getattr(block, half)
            known = [w for w in (*ATTENTION, "gate", "up", "down") if hasattr(whole, w)]
            halves[half] = replace(whole, **{w: part(f"block{index}.{w}") for w in known})
        blocks.append(replace(block, **halves))
    changes: dict[str, object] = {"blocks": tuple(blocks)}
    if model.head is not None:
        changes["head"] = part("head")
    if isinstance(model, Decoder):
        # The embedding stays as it is: the host looks it up.
        changes["tied"] = model.tied and "head" not in weights
    elif "patch" in linears:
        changes["embedding"] = replace(model.embedding, projection=part("patch"))
    return replace(model, **changes)
