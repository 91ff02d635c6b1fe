"""Lowers a placed model to instructions, for one number of tokens.

Of the groups of plans that `plans` lists, the first that fits is taken: from everything in the
scratchpad to one row at a time. Of its plans, the cycle model says which is the fastest. In every
plan an addition to the residual stream is made in place.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from celosia.compiler.cycles import predict
from celosia.compiler.dependencies import hoist_loads, insert_tokens
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

#: Plans whose cycles are predicted.
COMPARED = 3
#: Of plans whose cycles differ by less, that with the largest blocks is taken: half the blocks read
#: half the weights, which a slower memory, or less energy, would ask for.
CLOSE = 0.02


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
    """A program that is to be linked.

    Attributes
    ----------
    program : list of Instruction
        Instructions with their tokens, HALT at the end.
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


@dataclass(frozen=True)
class _Lowered:
    """A model lowered by a plan, and the memory that it took."""

    builder: Builder
    memory: MemoryLayout
    source: int
    target: int


def _lower(
    model: PlacedModel, shape: Shape, config: MachineConfig, memory: MemoryLayout, plan: Plan
) -> _Lowered:
    trial = memory.fork()
    builder = Builder(config, trial, plan)
    try:
        return _Lowered(builder, trial, *_Lowering(model, shape, builder).run())
    except OutOfSpace as error:
        error.layer = builder.layer
        raise


def _cycles(
    model: PlacedModel, shape: Shape, config: MachineConfig, memory: MemoryLayout, plan: Plan
) -> int:
    """Predict the cycles of a model's first block by a plan; the others are like it."""
    sample = replace(model, blocks=model.blocks[:1])
    program = _lower(sample, shape, config, memory, plan).builder.program
    order = hoist_loads(program, config)
    return predict(insert_tokens([program[index] for index in order], config), config).cycles


def schedule(
    model: PlacedModel, shape: Shape, config: MachineConfig, memory: MemoryLayout, name: str
) -> Schedule:
    """Lower a model by the plan that takes the fewest cycles, of those that fit and keep the most.

    Raises
    ------
    ModelError
        If not even the most frugal plan fits; the message names the layer and what it lacks.
    """
    failed: OutOfSpace | None = None
    for group in plans(config, shape.tokens):
        fitting: list[_Lowered] = []
        for variants in group:
            for plan in variants:
                try:
                    fitting.append(_lower(model, shape, config, memory, plan))
                    break
                except OutOfSpace as error:
                    failed = error
            if len(fitting) == COMPARED:
                break
        if not fitting:
            continue
        found = fitting[0]
        if len(fitting) > 1:
            cycles = [_cycles(model, shape, config, memory, one.builder.plan) for one in fitting]
            close = (1 + CLOSE) * min(cycles)
            found = next(one for one, count in zip(fitting, cycles, strict=True) if count <= close)
        memory.adopt(found.memory)
        builder = found.builder
        order = hoist_loads(builder.program, config)
        return Schedule(
            insert_tokens([builder.program[index] for index in order], config),
            [builder.labels[index] for index in order],
            found.source,
            found.target,
            builder.plan,
            {
                "scratchpad_words": builder.pad.words.peak,
                "exponent_slots": builder.pad.slots.peak,
            },
        )
    assert failed is not None, "there is always a plan to try"
    parameter = failed.what.replace(" ", "_")
    raise ModelError(
        f"{name}: {failed.layer}, {shape.tokens} tokens: {failed.needed} {failed.what} are needed "
        f"in the smallest blocks, but configuration {config.name!r} has {failed.there}; raise "
        f"{parameter} or compile for fewer tokens"
    )
