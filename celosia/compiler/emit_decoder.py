"""Joins the image, the instructions and what the host must know of a decoder into a program."""

from dataclasses import asdict
from itertools import groupby

import numpy as np

from celosia.compiler.decoder_shape import DecoderShape
from celosia.compiler.layout import MemoryLayout, ceil_div
from celosia.compiler.layout_decoder import PlacedDecoder, place_decoder
from celosia.compiler.program import Program, Tensor
from celosia.compiler.quantise_decoder import QuantisedDecoder
from celosia.compiler.schedule_decoder import schedule_decoder
from celosia.config import MachineConfig
from celosia.errors import ModelError
from celosia.isa import INSTRUCTION_BYTES, assemble

__all__ = ["decoder_shape", "emit_decoder"]

#: Lanes of a result of ARGMAX: the largest logit, and its index in two halves.
BEST_LANES = 3


def emit_decoder(
    model: QuantisedDecoder,
    config: MachineConfig,
    *,
    context: int | None = None,
    sequences: int = 1,
    block: int | None = None,
) -> Program:
    """Map a quantised decoder onto a machine.

    Parameters
    ----------
    model : QuantisedDecoder
        The model.
    config : MachineConfig
        The machine.
    context : int, optional
        Most positions of a sequence, no more than the model has; as many by default.
    sequences : int
        Caches to keep.
    block : int, optional
        Most tokens of one run; what fits by default.

    Raises
    ------
    ModelError
        If it does not fit; the message names the layer or the memory.
    """
    decoder = model.decoder
    context = decoder.context if context is None else context
    if not 1 <= context <= decoder.context:
        raise ModelError(f"{decoder.name}: context must be 1 to {decoder.context}, not {context}")
    if sequences < 1:
        raise ModelError(f"{decoder.name}: sequences must be 1 or more, not {sequences}")
    if block is not None and not 1 <= block <= context:
        raise ModelError(f"{decoder.name}: block must be 1 to {context} tokens, not {block}")
    memory = MemoryLayout(config)
    placed = place_decoder(model, config, memory)
    found = schedule_decoder(
        placed,
        decoder.hidden,
        context,
        config,
        memory,
        decoder.name,
        sequences=sequences,
        block=block,
    )
    entry = memory.place("program", bytes(len(found.program) * INSTRUCTION_BYTES))
    memory.fill(entry, assemble([memory.linked(ins) for ins in found.program]))
    rows, word = found.shape.block, config.word_bytes
    pitch = -(-decoder.hidden // config.lanes) * word
    return Program(
        config=config,
        model=decoder.name,
        image=bytes(memory.image),
        sections=memory.linked_sections(decoder.name),
        inputs=(
            Tensor(
                "rows", memory.link(found.input), pitch, rows, decoder.hidden, model.input_scale
            ),
        ),
        outputs=(Tensor("best", memory.link(found.best), word, rows, BEST_LANES, 1.0),),
        tokens=rows,
        entry=entry,
        host={"embedding": decoder.embedding.astype(np.float32)},
        extra={
            "family": decoder.family,
            "parameters": int(decoder.parameters),
            "macs_per_token": int(sum(linear.weight.size for linear in decoder.linears)),
            # What the array computes with its whole tiles, and both halves of what is wide.
            "array_macs_per_token": _array_macs(placed, config),
            "shape": asdict(found.shape),
            # Rows that the host reads only if it wants them.
            "logits": asdict(
                Tensor(
                    "logits",
                    memory.link(found.logits),
                    found.logit_words * word,
                    rows,
                    decoder.vocabulary,
                    model.logit_scale,
                )
            ),
            "cache": {
                "address": memory.link(found.cache),
                "bytes": found.shape.sequence_bytes * found.shape.sequences,
            },
            "program_bytes": len(found.program) * INSTRUCTION_BYTES,
            "layers": [[label, len(list(run))] for label, run in groupby(found.labels)],
            "plan": dict(found.peaks),
            "report": model.report,
        },
    )


def _array_macs(placed: PlacedDecoder, config: MachineConfig) -> int:
    """Count the products of the array for each token, padding included."""
    products = [placed.head]
    for block in placed.blocks:
        products += [block.q, block.k, block.v, block.o, block.gate, block.up, block.down]
    total = 0
    for product in products:
        for matrix in (product.main, product.rest):
            if matrix is not None:
                channels = matrix.tiles(config).channels
                tiles = ceil_div(matrix.outputs, channels) * matrix.k_tiles
                total += tiles * config.multipliers * (2 if product.wide else 1)
    return total


def decoder_shape(program: Program) -> DecoderShape:
    """Return what a decoder's program was made for.

    Raises
    ------
    ModelError
        If it is not a decoder's program.
    """
    if "shape" not in program.extra:
        raise ModelError(f"{program.model}: not a language model; compile one to generate text")
    return DecoderShape(**program.extra["shape"])
