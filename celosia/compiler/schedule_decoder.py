"""Lowers a placed decoder to one program for every number of tokens and every position.

Tokens come in blocks; what depends on their number and place are arguments. A block's keys and
values join the cache in memory first, and are read back with those before them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from celosia.compiler.decoder_shape import Argument, DecoderShape
from celosia.compiler.dependencies import hoist_loads, insert_tokens
from celosia.compiler.layout import MemoryLayout, ceil_div
from celosia.compiler.layout_decoder import PlacedDecoder, PlacedProduct
from celosia.compiler.layout_scratchpad import OutOfSpace, Region
from celosia.compiler.lower_decoder import DecoderLowering
from celosia.compiler.schedule_parts import NONE, pieces
from celosia.config import MachineConfig
from celosia.errors import ModelError
from celosia.isa import Flag, Instruction, Opcode

__all__ = ["DecoderSchedule", "schedule_decoder"]

#: Largest block of tokens that is tried.
BLOCK = 64
#: Share of the scratchpad that logits may take.
LOGITS_SHARE = 8


@dataclass(frozen=True)
class DecoderSchedule:
    """A program and what the host must know.

    Attributes
    ----------
    program : list of Instruction
        With tokens; addresses are to be linked.
    labels : list of str
        The layer of each instruction.
    input, logits, best : int
        Addresses of the rows that come in, of the logits, and of the largest logits.
    logit_words : int
        Words of a row of logits.
    cache : int
        Address of the first cache.
    shape : DecoderShape
        What the program is for.
    peaks : mapping of str to int
        Places of the scratchpad that are in use at once.
    """

    program: list[Instruction]
    labels: list[str]
    input: int
    logits: int
    best: int
    logit_words: int
    cache: int
    shape: DecoderShape
    peaks: Mapping[str, int]


def _lower(
    model: PlacedDecoder,
    lowering: DecoderLowering,
    hidden: int,
    context: int,
    sequences: int,
) -> DecoderSchedule:
    builder, config, block = lowering.builder, lowering.config, lowering.block
    pad, words = builder.pad, builder.words(hidden)
    source = builder.memory.reserve("input", block * words * config.word_bytes)
    builder.layer = "embedding"
    x = pad.take(block, words)
    builder.load(x, source, adds={"rows": Argument.TOKENS})
    h = pad.take(block, words)
    for index, layer in enumerate(model.blocks):
        builder.layer = f"block{index}.attention"
        lowering.attention(layer, x, h, index)
        builder.layer = f"block{index}.ffn"
        lowering.feed_forward(layer, x, h)
    builder.layer = "head"
    last = pad.take(block, words)
    lowering.norm(model.final_norm, x, last, {"m": Argument.SCORED, "x_base": Argument.LAST})
    pad.give(x)
    pad.give(h)
    logits, best, logit_words = _score(lowering, model.head, last)
    builder.emit(Opcode.HALT)

    order = hoist_loads(builder.extents, config)
    linked = insert_tokens([builder.extents[index] for index in order], config)
    program = [
        replace(builder.program[index], wait=tokens.wait, signal=tokens.signal)
        for index, tokens in zip(order, linked, strict=True)
    ]
    return DecoderSchedule(
        program,
        [builder.labels[index] for index in order],
        source,
        logits,
        best,
        logit_words,
        lowering.cache,
        DecoderShape(
            context=context,
            block=block,
            sequences=sequences,
            sequence_bytes=lowering.sequence_bytes,
            unit=lowering.unit,
            lanes=config.lanes,
            group=lowering.group,
            stream_stride=x.stride,
            value_stride=lowering.value_stride,
            key_pitch=lowering.key_pitch,
            turn_pitch=lowering.heads.words * config.word_bytes,
        ),
        {"scratchpad_words": pad.words.peak, "exponent_slots": pad.slots.peak},
    )


def _score(lowering: DecoderLowering, head: PlacedProduct, x: Region) -> tuple[int, int, int]:
    """Form the logits piece by piece, store them, and find the largest of each row."""
    builder, config, block = lowering.builder, lowering.config, lowering.block
    pad = builder.pad
    outputs, lanes = head.main.outputs, config.lanes
    words = builder.words(outputs)
    pitch = words * config.word_bytes
    logits = builder.memory.reserve("logits", block * pitch)
    best = builder.memory.reserve("best", block * config.word_bytes)
    found = pad.take(block, 1)
    budget = config.scratchpad_words // LOGITS_SHARE // block
    step = builder.step(head.main)
    for first, count in pieces(outputs, max(min(words, budget) * lanes // step, 1) * step):
        y = pad.take(block, builder.words(count))
        word = first // lanes
        lowering.product(head, x, y.columns(-word), channels=(first, count), rows=Argument.SCORED)
        builder.store(
            y,
            logits + word * config.word_bytes,
            pitch=pitch,
            adds={"rows": Argument.SCORED},
        )
        builder.emit(
            Opcode.ARGMAX,
            Flag.CONTINUE if first else NONE,
            {"m": Argument.SCORED},
            m=block,
            n=count,
            words=y.words,
            first=first,
            **y.operand("x", slot=False),
            **found.operand("y"),
        )
        pad.give(y)
    builder.store(found, best, adds={"rows": Argument.SCORED})
    return logits, best, words


def schedule_decoder(
    model: PlacedDecoder,
    hidden: int,
    context: int,
    config: MachineConfig,
    memory: MemoryLayout,
    name: str,
    *,
    sequences: int = 1,
    block: int | None = None,
) -> DecoderSchedule:
    """Lower a decoder for the largest block of tokens that fits, or for `block`.

    Raises
    ------
    ModelError
        If not even a block of one token fits; the message names the layer and what it lacks.
    """
    size = min(BLOCK, context) if block is None else block
    while True:
        trial = memory.fork()
        lowering = None
        try:
            lowering = DecoderLowering(model, context, sequences, size, config, trial)
            found = _lower(model, lowering, hidden, context, sequences)
            memory.adopt(trial)
            return found
        except OutOfSpace as error:
            if size == 1 or block is not None:
                layer = "attention" if lowering is None else lowering.builder.layer
                raise ModelError(
                    f"{name}: {layer}, {size} tokens at once, context {context}: {error.needed} "
                    f"{error.what} are needed, but configuration {config.name!r} has "
                    f"{error.there}; raise {error.what.replace(' ', '_')} or compile for a "
                    "shorter context"
                ) from None
            size = ceil_div(size, 2)
