"""Single layers with random constants, as programs: what throughput is measured on.

Activations are int8 in memory and int16 rows inside; everything comes from memory and goes back
to it. The programs are scheduled by hand for the least time outside the products: the first rows
and channels are few, so that work begins early, and so are the last ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from celosia.compiler import key_patterns
from celosia.compiler.cycles.latencies import BURST_BEATS
from celosia.compiler.dependencies import insert_tokens
from celosia.compiler.key_runs import KeyRun, steps
from celosia.compiler.layout import (
    PARAMETER_BYTES,
    Matrix,
    MemoryLayout,
    ceil_div,
    parameter_bytes,
)
from celosia.compiler.layout_scratchpad import Region
from celosia.compiler.layout_tiles import TiledFormat
from celosia.compiler.program import Program, Tensor
from celosia.compiler.quantise import dyadic
from celosia.compiler.schedule_parts import Builder, pieces
from celosia.compiler.schedule_plans import Plan
from celosia.compiler.weight_format import WeightFormat
from celosia.config import MachineConfig
from celosia.golden.activation import make_table
from celosia.isa import INSTRUCTION_BYTES, Flag, Opcode, Space, assemble

__all__ = ["attention", "mha_ffn"]

#: Standard deviation of random int8 values, and of the int16 rows that products make of them.
INT8_SPREAD, ROW_SPREAD = 74.0, 3000.0
#: Real value of one step of the rows before and after a GELU.
GELU_SCALE = 1 / 4096


class Workload:
    """A program as it is put together from products of random matrices.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    seed : int
        Of the constants.
    """

    def __init__(self, config: MachineConfig, seed: int = 1) -> None:
        self.config = config
        self.memory = MemoryLayout(config)
        self.builder = Builder(config, self.memory, Plan(1, frozenset(), lookahead=True))
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, list[Tensor]] = {"inputs": [], "outputs": []}

    def matrix(
        self, name: str, outputs: int, inputs: int, *, spread: float, to: float, tiles: bool = True
    ) -> Matrix:
        """Place random weights; the product of rows of one spread has rows of another."""
        weight, parameters = self._constants(outputs, inputs, spread, to)
        return Matrix(
            name,
            outputs,
            ceil_div(inputs, self.config.rows),
            self.memory.place(f"{name}.weight", self._tiles(weight) if tiles else weight),
            self.memory.place(f"{name}.parameters", parameters),
        )

    def parts(
        self, name: str, outputs: int, inputs: int, channels: int, *, spread: float, to: float
    ) -> list[Matrix]:
        """Place random weights in parts.

        Returns
        -------
        list of Matrix
            Of the first channels the weights of each word of a row; all weights of the others.
        """
        lanes = self.config.lanes
        weight, parameters = self._constants(outputs, inputs, spread, to)
        address = self.memory.place(f"{name}.parameters", parameters)
        parts = [weight[:channels, at : at + lanes] for at in range(0, inputs, lanes)]
        *first, others = (
            Matrix(
                name,
                len(part),
                ceil_div(part.shape[1], self.config.rows),
                self.memory.place(f"{name}.weight", self._tiles(part)),
                address,
            )
            for part in (*parts, weight[channels:])
        )
        return [*first, replace(others, parameters=address + channels * PARAMETER_BYTES)]

    def _constants(
        self, outputs: int, inputs: int, spread: float, to: float
    ) -> tuple[NDArray[np.int8], NDArray[np.void]]:
        """Return random weights and their parameters."""
        weight = self.rng.integers(-128, 128, (outputs, inputs), np.int8)
        multiplier, shift = dyadic(to / (spread * INT8_SPREAD * inputs**0.5))
        bias = np.round(self.rng.normal(0, to / 3, outputs)).astype(np.int64)
        return weight, parameter_bytes(np.full(outputs, multiplier), np.full(outputs, shift), bias)

    def _tiles(self, weight: NDArray[np.int8]) -> NDArray[np.uint8]:
        """Return weights as memory holds them."""
        tiled = TiledFormat(self.config, WeightFormat("int8"), weight.shape[1])
        ones = np.ones((len(weight), 1), np.int64)
        return np.concatenate(tiled.store(weight.astype(np.int64), ones).tiles)

    def gelu(self) -> int:
        """Place the table of a GELU; return its address."""
        table = np.stack(make_table("gelu", GELU_SCALE, GELU_SCALE), axis=1)
        return self.memory.place("gelu", table.astype("<i2"))

    def tensor(self, kind: str, name: str, rows: int, columns: int) -> int:
        """Reserve int8 rows in memory; return their address."""
        address = self.memory.reserve(name, rows * columns)
        self.tensors[kind].append(Tensor(name, address, columns, rows, columns, 1.0, "int8"))
        return address

    def rows(self, kind: str, name: str, rows: int, columns: int) -> int:
        """Reserve int16 rows in memory, each of whole words; return their address."""
        pitch = self.builder.words(columns) * self.config.word_bytes
        address = self.memory.reserve(name, rows * pitch)
        self.tensors[kind].append(Tensor(name, address, pitch, rows, columns, 1.0))
        return address

    def finish(self, model: str, tokens: int) -> Program:
        """End the program and link it."""
        builder, memory = self.builder, self.memory
        builder.emit(Opcode.HALT)
        entry = memory.place("program", bytes(len(builder.program) * INSTRUCTION_BYTES))
        # Inputs lie behind it, in whole bursts.
        memory.image += bytes(-len(memory.image) % (BURST_BEATS * self.config.memory_width))
        linked = insert_tokens([memory.linked(ins) for ins in builder.program], self.config)
        memory.fill(entry, assemble(linked))
        inputs, outputs = (
            tuple(replace(t, address=memory.link(t.address)) for t in self.tensors[kind])
            for kind in ("inputs", "outputs")
        )
        return Program(
            config=self.config,
            model=model,
            image=bytes(memory.image),
            sections=memory.linked_sections(model),
            inputs=inputs,
            outputs=outputs,
            tokens=tokens,
            entry=entry,
        )


def runs(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and length of runs that follow one another, but for empty ones."""
    first = 0
    for size in sizes:
        if size:
            yield first, size
        first += size


def mha_ffn(
    config: MachineConfig,
    *,
    tokens: int,
    embed: int,
    project: int,
    ffn: int,
    end: int,
    begin: int = 0,
) -> Program:
    """Return one head of attention with its projections, and a feed-forward half with GELU.

    Parameters
    ----------
    config : MachineConfig
        The machine; its scratchpad must hold all activations.
    tokens, embed, project, ffn : int
        Rows; their width; width of Q, K and V; width inside the feed-forward half.
    end : int
        Rows of the last block that is stored.
    begin : int
        Rows of the first block that is loaded; 0 if all are, as they always are with chaining.
    """
    work = Workload(config)
    builder, lanes = work.builder, config.lanes
    matrices = {
        "q": work.matrix("q", project, embed, spread=INT8_SPREAD, to=ROW_SPREAD),
        "v": work.matrix("v", project, embed, spread=INT8_SPREAD, to=ROW_SPREAD, tiles=False),
        "o": work.matrix("o", embed, project, spread=ROW_SPREAD, to=ROW_SPREAD),
        "up": work.matrix("up", ffn, embed, spread=ROW_SPREAD, to=ROW_SPREAD),
        "down": work.matrix("down", embed, ffn, spread=ROW_SPREAD, to=INT8_SPREAD / 2),
    }
    table = work.gelu()
    target = work.tensor("outputs", "y", tokens, embed)

    pad, words = builder.pad, builder.words
    x, q = (pad.take(tokens, words(width)) for width in (embed, project))
    pad.take(1, 1)  # queries and keys then lie in different banks, row by row
    k = pad.take(tokens, words(project))
    v, weights = pad.take(project, words(tokens)), pad.take(project, words(embed))
    context, wide = pad.take(tokens, words(project)), pad.take(tokens, words(ffn))
    y, out = pad.take(tokens, words(embed)), pad.take(tokens, words(embed))
    most = min(
        config.attention_rows, config.accumulator_rows * config.columns // project, tokens // 2
    )
    blocks = list(pieces(tokens, most))

    # K, Vᵀ, Q: what comes last is needed last. V's weights stream, so that its product is Vᵀ.
    if config.chaining:
        _chained_keys(work, x, k, (embed, project))
    else:
        _keys(work, x, k, (embed, project), begin)
    builder.matmul_rows(matrices["v"], 0, weights, x, v)
    product = builder.program.pop()
    # Parameters take a cycle each, so they come first. Two LOADs hold back what is dispatched
    # behind them: Q's tiles, which would be fetched between their rows.
    for first, rows in pieces(project, ceil_div(project, 2)):
        source = matrices["v"].weights + first * embed
        builder.load(weights.part(first, rows), source, space=Space.ROWS8, pitch=embed)
    builder.program.append(product)
    for first, rows in blocks:
        builder.matmul(matrices["q"], x.part(first, rows), q.part(first, rows))

    # The scores of a second block of keys wait for those of the first, so the first queries are
    # few; and so are the last rows, which come from the same ones.
    between = tokens - end
    sizes = pieces(between, ceil_div(between, ceil_div(between, most)))
    few, *many = runs([end, *(rows for _, rows in sizes)])
    operands = {"t": tokens, **logit_scale(config, ROW_SPREAD, project)}
    for first, rows in (few, *many):
        builder.attend(q.part(first, rows), k, v, context.part(first, rows), operands)
    for first, rows in (few, *many):
        builder.matmul(matrices["o"], context.part(first, rows), y.part(first, rows))
    builder.load_table(table)
    for first, rows in (*many, few):
        builder.matmul(
            matrices["up"], y.part(first, rows), wide.part(first, rows), flags=Flag.ACTIVATE
        )
    # The store of a block ends before the next one begins, and the last one is short. Each follows
    # the products of the next block, which a store that waits for another one would keep back.
    stores: list[tuple[Region, int]] = []
    for first, rows in (*many, few):
        for channel, n in runs([embed - 2 * lanes, 2 * lanes]):
            builder.matmul(
                matrices["down"],
                wide.part(first, rows),
                out.part(first, rows),
                channels=(channel, n),
                flags=Flag.NARROW,
            )
            done = out.part(first, rows).columns(channel // lanes, n // lanes)
            stores.append((done, target + first * embed + channel))
            if len(stores) > 1:
                builder.store(*stores[-2], space=Space.ROWS8, pitch=embed)
    builder.store(*stores[-1], space=Space.ROWS8, pitch=embed)
    return work.finish("mha_ffn", tokens)


def _keys(work: Workload, x: Region, k: Region, shape: tuple[int, int], begin: int) -> None:
    """Load the rows in two blocks, and multiply each as soon as it is there."""
    builder, lanes, (embed, project) = work.builder, work.config.lanes, shape
    matrix = work.matrix("k", project, embed, spread=INT8_SPREAD, to=ROW_SPREAD)
    source = work.tensor("inputs", "x", x.rows, embed)
    for first, rows in runs([begin, x.rows - begin]):
        part = x.part(first, rows)
        builder.load(part, source + first * embed, space=Space.ROWS8, pitch=embed)
        for channel, n in runs([lanes, lanes, project - 2 * lanes]):
            builder.matmul(matrix, part, k.part(first, rows), channels=(channel, n))
        if not first:
            # The first rows come before the tiles that are fetched as products are decoded, and
            # a few parameters before the rows.
            builder.program.sort(key=lambda instruction: instruction.opcode is Opcode.MATMUL)
            builder.program.insert(0, builder.program.pop(1))


def _chained_keys(work: Workload, x: Region, k: Region, shape: tuple[int, int]) -> None:
    """Multiply the rows word by word as they come, many channels of each.

    The product of the first words needs no parameters: they come behind those words.
    """
    builder, config, (embed, project) = work.builder, work.config, shape
    lanes = config.lanes
    channels = min(project, config.accumulator_rows // x.rows * config.columns)
    # Other products take turns with the banks of the accumulators; an even number of turns leaves
    # that of the scores free when attention begins.
    if ceil_div(project - channels, config.columns) % 2 == 0:
        channels -= config.columns
    *parts, others = work.parts("k", project, embed, channels, spread=INT8_SPREAD, to=ROW_SPREAD)
    # The exponents of int8 are 0, and later words have them elsewhere: while the first words are
    # multiplied, theirs cannot be written.
    elsewhere = builder.pad.take(x.rows, 1)
    later = replace(x.columns(1), slot=elsewhere.slot)
    source, *_ = (work.tensor("inputs", f"x.{word}", x.rows, lanes) for word in range(x.words))
    builder.load(x.columns(0, 1), source, space=Space.ROWS8, flags=Flag.CHAIN)
    builder.matmul(parts[0], x.columns(0, 1), k, flags=Flag.CHAIN | Flag.HOLD)
    builder.load(later, source + x.rows * lanes, space=Space.ROWS8, flags=Flag.CHAIN)
    for word, part in enumerate(parts[1:]):
        flags = Flag.CHAIN | Flag.CONTINUE | (Flag.HOLD if word + 1 < later.words else Flag(0))
        builder.matmul(part, later.columns(word, 1), k, flags=flags)
    builder.matmul(others, x, k.columns(channels // lanes), flags=Flag.KEEP_EXPONENT)


#: Keys whose K and Vᵀ are loaded at once, and how many such chunks there is room for.
CHUNK, CHUNKS = 128, 3
#: Rows of the first and the last block of queries, and keys of the first chunk of all.
EDGE, FIRST_KEYS = 32, 32


def attention(
    config: MachineConfig, *, queries: int, keys: int, width: int, causal: bool = False
) -> Program:
    """Return one head of attention over K and Vᵀ in memory, which stream through a ring.

    The buffers do not depend on the number of keys.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    queries, keys, width : int
        Shape.
    causal : bool
        Whether each query sees only the keys up to its own; the queries are those of the last
        keys.
    """
    work = Workload(config)
    builder, lanes = work.builder, config.lanes
    q_address, k_address = (
        work.tensor("inputs", name, rows, width) for name, rows in (("q", queries), ("k", keys))
    )
    v_address = work.tensor("inputs", "v", width, keys)
    words = builder.words(width)
    y_pitch = words * config.word_bytes
    target = work.rows("outputs", "y", queries, width)

    most = min(config.attention_rows, config.accumulator_rows * config.columns // width)
    pad = builder.pad
    ring = [(pad.take(CHUNK, words), pad.take(width, CHUNK // lanes)) for _ in range(CHUNKS)]
    places = [(pad.take(most, words), pad.take(most, words)) for _ in range(2)]
    scale = logit_scale(config, INT8_SPREAD, width)

    jobs: list[Job] = []
    for index, (first, rows) in enumerate(runs(edged(queries, most))):
        q, y = (place.part(0, rows) for place in places[index % 2])
        position = keys - queries + first
        (seen,) = key_patterns.causal(position, rows) if causal else key_patterns.full(keys)
        parts = runs(growing(seen.keys, CHUNK, CHUNK if index else FIRST_KEYS))
        chunks = [part for run in parts for part in seen.part(*run).reduced(rows)]
        for run, flags, operands in steps(chunks):
            k, v = ring[len(jobs) % CHUNKS]
            v = v.columns(0, ceil_div(run.keys, lanes))
            jobs.append(Job(first, run, flags, operands, q, k.part(0, run.keys), v, y))

    def load(job: Job) -> None:
        if Flag.CONTINUE not in job.flags:
            builder.load(job.q, q_address + job.first * width, space=Space.ROWS8, pitch=width)
        builder.load(job.k, k_address + job.run.first * width, space=Space.ROWS8, pitch=width)
        builder.load(job.v, v_address + job.run.first, space=Space.ROWS8, pitch=keys)

    # Each run is loaded behind the one before.
    load(jobs[0])
    for job, following in zip(jobs, [*jobs[1:], None], strict=True):
        if following:
            load(following)
        builder.attend(job.q, job.k, job.v, job.y, scale | job.operands, job.flags)
        if Flag.HOLD not in job.flags:
            builder.store(job.y, target + job.first * y_pitch)
    return work.finish("attention", queries)


@dataclass(frozen=True)
class Job:
    """A block of queries and a run of keys, with places in the scratchpad.

    Attributes
    ----------
    first : int
        First query.
    run : KeyRun
        Its keys.
    flags, operands : Flag, dict
        What its place in the chain makes of its ATTEND.
    q, k, v, y : Region
        Operands and result.
    """

    first: int
    run: KeyRun
    flags: Flag
    operands: dict[str, int]
    q: Region
    k: Region
    v: Region
    y: Region


def logit_scale(config: MachineConfig, spread: float, width: int) -> dict[str, int]:
    """Return the operands by which logits of rows of a spread come to spread over two octaves."""
    multiplier, shift = dyadic(64 * 2.0 / (spread**2 * width**0.5))
    return {
        "multiplier": int(multiplier),
        "shift": int(shift),
        "d_tiles": ceil_div(width, config.rows),
        "v_tiles": ceil_div(width, config.columns),
    }


def edged(rows: int, most: int) -> list[int]:
    """Cut rows into blocks of at most `most`, the first and the last of `EDGE`."""
    if rows <= 2 * EDGE:
        return [rows]
    between = rows - 2 * EDGE
    blocks = ceil_div(between, most)
    step = ceil_div(ceil_div(between, blocks), EDGE) * EDGE
    sizes = [step] * (between // step)
    return [EDGE, *sizes, *([between % step] if between % step else []), EDGE]


def growing(count: int, most: int, first: int) -> list[int]:
    """Cut a number into pieces of at most `most`, two of each size: `first`, then twice as many."""
    sizes = []
    while count:
        sizes.append(min(first << len(sizes) // 2, most, count))
        count -= sizes[-1]
    return sizes
