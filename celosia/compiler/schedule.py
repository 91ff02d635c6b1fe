"""Lowers a placed model to instructions, for one number of tokens.

Of the plans that `plans` lists, the first that fits is taken: from everything in the scratchpad
to one row at a time. In every plan an addition to the residual stream is made in place.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from celosia.compiler.layout import MemoryLayout
from celosia.compiler.layout_model import (
    PlacedBlock,
    PlacedModel,
    PlacedNorm,
    PlacedNorms,
)
from celosia.compiler.layout_scratchpad import OutOfSpace, Region
from celosia.compiler.schedule_attention import lower_heads
from celosia.compiler.schedule_parts import Builder, Tensor, pieces
from celosia.compiler.schedule_plans import Plan, plans
from celosia.config import MachineConfig
from celosia.errors import ModelError
from celosia.isa import Flag, Instruction, Opcode

__all__ = ["Schedule", "Shape", "schedule"]


@dataclass(frozen=True)
class Shape:
    """What the scheduler must know of a model besides its constants.

    Attributes
    ----------
    tokens, hidden : int
        Rows of the sequence and their width.
    input_width : int
        Elements of the rows that the host writes.
    pooled_rows : int
        Rows that the head is applied to, from the first on.
    """

    tokens: int
    hidden: int
    input_width: int
    pooled_rows: int


@dataclass(frozen=True)
class Schedule:
    """A program without tokens.

    Attributes
    ----------
    program : list of Instruction
        Instructions, HALT at the end.
    labels : list of str
        The layer of each.
    input, output : int
        Addresses, to be linked.
    plan : Plan
        The plan that fitted.
    peaks : dict of str to int
        Most scratchpad words and exponent slots in use at a time.
    """

    program: list[Instruction]
    labels: list[str]
    input: int
    output: int
    plan: Plan
    peaks: dict[str, int]


class _Lowering:
    """Lowers one model by one plan."""

    def __init__(
        self,
        model: PlacedModel,
        shape: Shape,
        builder: Builder,
    ) -> None:
        self.model, self.shape, self.builder = model, shape, builder
        self.plan, self.config = builder.plan, builder.config
        self.words = builder.words(shape.hidden)
        self.x = Tensor(builder, "x", shape.tokens, self.words)
        attention = model.blocks[0].attention
        self.context_words = attention.heads * attention.v_words
        self.context = Tensor(builder, "context", shape.tokens, self.context_words)
        sums = [model.embedding]
        sums += [
            norms for block in model.blocks for norms in (block.after_attention, block.after_ffn)
        ]
        self.normed = None
        if any(norms.source for norms in sums):
            self.normed = Tensor(builder, "norm", shape.tokens, self.words)

    def blocks(self, rows: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield first row and rows of each block of the sequence."""
        return pieces(rows or self.shape.tokens, self.plan.block)

    def run(self) -> tuple[int, int]:
        """Lower everything; return the addresses of input and output."""
        builder, model = self.builder, self.model
        pitch = builder.words(self.shape.input_width) * self.config.word_bytes
        source = builder.memory.reserve("input", self.shape.tokens * pitch)
        builder.layer = "embedding"
        self.x.acquire()
        if self.normed:
            self.normed.acquire()
        self.embed(source, pitch)
        before = model.embedding
        for index, block in enumerate(model.blocks):
            builder.layer = f"block {index} attention"
            self.attention(block, self.source(before))
            builder.layer = f"block {index} feed-forward"
            self.feed_forward(block, self.source(block.after_attention))
            before = block.after_ffn
        builder.layer = "output"
        target = self.finish()
        self.x.release()
        if self.normed:
            self.normed.release()
        builder.emit(Opcode.HALT)
        return source, target

    def source(self, norms: PlacedNorms) -> Tensor:
        """Return what the products behind a sum read."""
        return self.normed if norms.source and self.normed else self.x

    def gains(self, norms: PlacedNorms) -> list[tuple[PlacedNorm, Region, bool]]:
        """Load what the norms behind a sum need, in their order; `give` takes it back.

        Returns
        -------
        list of (PlacedNorm, Region, bool)
            Norm, its gain and offset, and whether it works in place.
        """
        order = [(norms.source, False), (norms.stream, True)]
        order = order[::-1] if norms.chained else order
        return [(norm, self.builder.load_norm(norm), stays) for norm, stays in order if norm]

    def norm(self, gains: list[tuple[PlacedNorm, Region, bool]], x: Region, first: int) -> None:
        """Norm the rows of a sum: in place, or into what the next product reads."""
        for norm, region, stays in gains:
            if stays:
                self.builder.norm(norm, region, x, x)
            elif self.normed:
                y = self.normed.open(first, x.rows, load=False)
                self.builder.norm(norm, region, x, y)
                self.normed.close(y, first)

    def give(self, gains: list[tuple[PlacedNorm, Region, bool]]) -> None:
        """Give the place of gains and offsets back."""
        for _, region, _ in gains:
            self.builder.pad.give(region)

    def embed(self, source: int, pitch: int) -> None:
        """Fill x from the rows that the host wrote."""
        builder, norms = self.builder, self.model.embedding
        gains = self.gains(norms)
        for first, rows in self.blocks():
            x = self.x.open(first, rows, load=False)
            if self.model.patch is None:
                builder.load(x, source + first * pitch, pitch=pitch)
            else:
                patches = builder.pad.take(rows, builder.words(self.shape.input_width))
                builder.load(patches, source + first * pitch, pitch=pitch)
                offset_pitch = self.words * self.config.word_bytes
                builder.load(x, self.model.offsets + first * offset_pitch, pitch=offset_pitch)
                builder.matmul(self.model.patch, patches, x, flags=Flag.RESIDUAL)
                builder.pad.give(patches)
            self.norm(gains, x, first)
            self.x.close(x, first)
        self.give(gains)

    def attention(self, block: PlacedBlock, source: Tensor) -> None:
        """Lower the attention half, from x to x."""
        builder = self.builder
        self.context.acquire()
        lower_heads(builder, block.attention, source, self.context, self.shape.tokens)
        gains = self.gains(block.after_attention)
        for first, rows in self.blocks():
            context = self.context.open(first, rows)
            x = self.x.open(first, rows)
            builder.matmul(block.attention.o, context, x, flags=Flag.RESIDUAL)
            self.context.close(context, first, store=False)
            self.norm(gains, x, first)
            self.x.close(x, first)
        self.give(gains)
        self.context.release()

    def feed_forward(self, block: PlacedBlock, source: Tensor) -> None:
        """Lower the feed-forward half, from x to x, both products of a block one block apart."""
        builder, ffn = self.builder, block.ffn
        builder.load_table(ffn.table)
        gains = self.gains(block.after_ffn)
        ahead = 1 if self.plan.lookahead else 0
        blocks = list(self.blocks())
        ready: list[tuple[int, int, Region]] = []
        for index in range(len(blocks) + ahead):
            if index < len(blocks):
                first, rows = blocks[index]
                wide = builder.pad.take(rows, builder.words(ffn.up.outputs))
                y = source.open(first, rows)
                builder.matmul(ffn.up, y, wide, flags=Flag.ACTIVATE)
                source.close(y, first, store=False)
                ready.append((first, rows, wide))
            if index >= ahead:
                first, rows, wide = ready.pop(0)
                x = self.x.open(first, rows)
                builder.matmul(ffn.down, wide, x, flags=Flag.RESIDUAL)
                builder.pad.give(wide)
                self.norm(gains, x, first)
                self.x.close(x, first)
        self.give(gains)

    def finish(self) -> int:
        """Lower what follows the blocks; return the address of the output."""
        builder, model, shape = self.builder, self.model, self.shape
        count = shape.pooled_rows if model.head else shape.tokens
        words = builder.words(model.head.outputs) if model.head else self.words
        pitch = words * self.config.word_bytes
        target = builder.memory.reserve("output", count * pitch)
        gains = builder.load_norm(model.final_norm) if model.final_norm else None
        for first, rows in self.blocks(count):
            x = self.x.open(first, rows)
            if model.final_norm and gains:
                builder.norm(model.final_norm, gains, x, x)
            if model.head:
                y = builder.pad.take(rows, words)
                builder.matmul(model.head, x, y)
                builder.store(y, target + first * pitch, pitch=pitch)
                builder.pad.give(y)
            else:
                builder.store(x, target + first * pitch, pitch=pitch)
            self.x.close(x, first, store=False)
        if gains:
            builder.pad.give(gains)
        return target


def schedule(
    model: PlacedModel, shape: Shape, config: MachineConfig, memory: MemoryLayout, name: str
) -> Schedule:
    """Lower a model by the best plan that fits.

    Raises
    ------
    ModelError
        If not even the most frugal plan fits; the message names the layer and what it lacks.
    """
    failed: tuple[str, OutOfSpace] | None = None
    for plan in plans(config, shape.tokens):
        trial = memory.fork()
        builder = Builder(config, trial, plan)
        try:
            source, target = _Lowering(model, shape, builder).run()
        except OutOfSpace as error:
            failed = builder.layer, error
            continue
        memory.adopt(trial)
        peaks = {"scratchpad_words": builder.pad.words.peak}
        peaks["exponent_slots"] = builder.pad.slots.peak
        return Schedule(builder.program, builder.labels, source, target, plan, peaks)
    assert failed is not None, "there is always a plan to try"
    layer, error = failed
    parameter = error.what.replace(" ", "_")
    raise ModelError(
        f"{name}: {layer}, {shape.tokens} tokens: {error.needed} {error.what} are needed in the "
        f"smallest blocks, but configuration {config.name!r} has {error.there}; raise {parameter} "
        "or compile for fewer tokens"
    )
