"""Joins image, instructions and manifest into a program."""

from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.graph import BertEmbedding, Encoder, PatchEmbedding
from celosia.compiler.layout import MemoryLayout, ceil_div
from celosia.compiler.layout_model import place_model
from celosia.compiler.program import Program, Tensor
from celosia.compiler.quantise_parts import QuantisedEncoder
from celosia.compiler.schedule import Schedule, Shape, schedule
from celosia.config import MachineConfig
from celosia.errors import ModelError
from celosia.isa import INSTRUCTION_BYTES, assemble

__all__ = ["emit_program"]


def emit_program(model: QuantisedEncoder, config: MachineConfig, tokens: int) -> Program:
    """Map a quantised model onto a machine, for inputs of `tokens` tokens.

    Raises
    ------
    ModelError
        If it does not fit; the message names the layer or the memory.
    """
    encoder = model.encoder
    if not 1 <= tokens <= encoder.max_tokens:
        raise ModelError(f"{encoder.name}: tokens must be 1 to {encoder.max_tokens}, not {tokens}")
    memory = MemoryLayout(config)
    placed = place_model(model, config, memory)
    shape = Shape(tokens, encoder.hidden, _input_width(encoder), _pooled_rows(encoder, tokens))
    found = schedule(placed, shape, config, memory, encoder.name)

    entry = memory.place("program", bytes(len(found.program) * INSTRUCTION_BYTES))
    memory.fill(entry, assemble([memory.linked(ins) for ins in found.program]))
    return Program(
        config=config,
        model=encoder.name,
        image=bytes(memory.image),
        sections=memory.linked_sections(encoder.name),
        inputs=(_tensor("rows", found.input, tokens, shape.input_width, model, memory),),
        outputs=(_output(model, found, shape, memory),),
        tokens=tokens,
        entry=entry,
        host=_host_arrays(encoder),
        extra=_extra(model, found, tokens),
    )


def _input_width(encoder: Encoder) -> int:
    embedding = encoder.embedding
    patch = isinstance(embedding, PatchEmbedding)
    return embedding.projection.inputs if patch else encoder.hidden


def _pooled_rows(encoder: Encoder, tokens: int) -> int:
    return 1 if encoder.pooling == "cls" else tokens


def _tensor(
    name: str, address: int, rows: int, columns: int, model: QuantisedEncoder, memory: MemoryLayout
) -> Tensor:
    pitch = ceil_div(columns, memory.config.lanes) * memory.config.word_bytes
    return Tensor(name, memory.link(address), pitch, rows, columns, model.input_scale)


def _output(model: QuantisedEncoder, found: Schedule, shape: Shape, memory: MemoryLayout) -> Tensor:
    head = model.head
    name, rows, columns = "hidden", shape.tokens, shape.hidden
    if head is not None:
        name, rows, columns = "logits", shape.pooled_rows, len(head.weight)
    tensor = _tensor(name, found.output, rows, columns, model, memory)
    return replace(tensor, scale=model.output_scale if head is None else head.out_scale)


def _host_arrays(encoder: Encoder) -> dict[str, NDArray[Any]]:
    """Return what the host needs to make rows of an input."""
    embedding = encoder.embedding
    if not isinstance(embedding, BertEmbedding):
        return {}
    return {"words": embedding.words, "positions": embedding.positions, "types": embedding.types}


def _extra(model: QuantisedEncoder, found: Schedule, tokens: int) -> dict[str, Any]:
    """Return what the host and the reports need, as plain values."""
    encoder = model.encoder
    extra: dict[str, Any] = {
        "family": encoder.family,
        "pooling": encoder.pooling,
        "labels": list(encoder.labels),
        "parameters": int(encoder.parameters),
        "macs": _macs(encoder, tokens),
        # Runs of instructions of one layer, in the order of the program.
        "layers": [[label, len(list(run))] for label, run in groupby(found.labels)],
        "plan": {
            "block": found.plan.block,
            "resident": sorted(found.plan.resident),
            "lookahead": found.plan.lookahead,
            "narrow": found.plan.narrow,
            "padded": found.plan.padded,
            **found.peaks,
        },
        "report": model.report,
    }
    embedding = encoder.embedding
    if isinstance(embedding, PatchEmbedding):
        extra["patches"] = {
            "channels": embedding.channels,
            "image_size": list(embedding.image_size),
            "patch_size": list(embedding.patch_size),
            "cls": embedding.cls is not None,
            "scale": float(embedding.scale),
            "mean": [float(value) for value in embedding.mean],
            "std": [float(value) for value in embedding.std],
        }
    return extra


def _macs(encoder: Encoder, tokens: int) -> int:
    """Count the products of one run that the model asks for, without any padding."""
    pooled = _pooled_rows(encoder, tokens)
    total = 0
    if isinstance(encoder.embedding, PatchEmbedding):
        total += int(np.prod(encoder.embedding.projection.weight.shape)) * tokens
    for block in encoder.blocks:
        attention, ffn = block.attention, block.ffn
        parts = (attention.q, attention.k, attention.v, attention.o, ffn.up, ffn.down)
        total += tokens * sum(part.weight.size for part in parts)
        total += 2 * tokens * tokens * attention.heads * attention.head_dim
    return total + (pooled * encoder.head.weight.size if encoder.head else 0)
