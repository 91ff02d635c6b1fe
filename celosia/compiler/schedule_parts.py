"""What the scheduler builds with: instructions and their loads, tensors that may be spilled."""

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from types import MappingProxyType

from celosia.compiler.layout import PARAMETER_BYTES, Matrix, MemoryLayout, ceil_div
from celosia.compiler.layout_model import PlacedNorm
from celosia.compiler.layout_scratchpad import OutOfSpace, ParameterRing, Region, Scratchpad
from celosia.compiler.schedule_plans import Plan
from celosia.config import MachineConfig
from celosia.isa import Flag, Instruction, Opcode, Space

__all__ = ["Builder", "Tensor", "pieces"]

#: No flag, no argument, no other extent.
NONE = Flag(0)
NOTHING: Mapping[str, int] = MappingProxyType({})
#: Operands that count: those that an argument is added to start at 0.
COUNTS = ("m", "n", "t", "rows", "words", "period", "first", "count")
#: Entries of the activation table.
TABLE_ENTRIES = 256


def pieces(count: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut a range into runs of at most `most`; yield first and length of each."""
    for first in range(0, count, most):
        yield first, min(most, count - first)


class Builder:
    """A program as it grows, with the state of the scratchpad and the parameter buffer.

    Attributes
    ----------
    program : list of Instruction
        Instructions, without tokens, in an order that is right one by one.
    extents : list of Instruction
        The same with the most that each may read and write, whatever its arguments are.
    labels : list of str
        The layer of each.
    layer : str
        Layer of what comes next.
    """

    def __init__(self, config: MachineConfig, memory: MemoryLayout, plan: Plan) -> None:
        self.config, self.memory, self.plan = config, memory, plan
        self.pad = Scratchpad(config, padded=plan.padded)
        self.ring = ParameterRing(config)
        self.program: list[Instruction] = []
        self.extents: list[Instruction] = []
        self.labels: list[str] = []
        self.layer = ""

    def emit(
        self,
        opcode: Opcode,
        flags: Flag = NONE,
        adds: Mapping[str, int] = NOTHING,
        extent: Mapping[str, int] = NOTHING,
        /,
        **operands: int,
    ) -> None:
        """Append one instruction.

        Parameters
        ----------
        opcode, flags, **operands
            The instruction. An operand that counts is the largest there may be.
        adds : mapping of str to int
            Argument registers by the operand that they are added to.
        extent : mapping of str to int
            Operands with which the instruction reaches all that it may reach, where arguments
            move it.
        """
        self.extents.append(Instruction(opcode, operands | dict(extent), flags))
        fixed = {k: 0 if k in adds and k in COUNTS else v for k, v in operands.items()}
        self.program.append(Instruction(opcode, fixed, flags, adds=tuple(adds.items())))
        self.labels.append(self.layer)

    def words(self, elements: int) -> int:
        """Return the scratchpad words of a row."""
        return ceil_div(elements, self.config.lanes)

    def _move(
        self,
        opcode: Opcode,
        region: Region,
        address: int,
        pitch: int,
        space: Space,
        adds: Mapping[str, int],
        extent: Mapping[str, int],
        flags: Flag = NONE,
        **operands: int,
    ) -> None:
        size = self.config.word_bytes if space is Space.ROWS16 else self.config.lanes
        self.emit(
            opcode,
            flags,
            adds,
            extent,
            space=space,
            address=address,
            pitch=pitch or (region.rows if Flag.CHAIN in flags else region.words) * size,
            rows=region.rows,
            words=region.words,
            base=region.base,
            stride=region.stride,
            **operands,
        )

    def load(
        self,
        region: Region,
        address: int,
        *,
        pitch: int = 0,
        space: Space = Space.ROWS16,
        adds: Mapping[str, int] = NOTHING,
        flags: Flag = NONE,
    ) -> None:
        """Fill a region from memory; with CHAIN that has word after word of all rows."""
        slot = region.slot
        self._move(Opcode.LOAD, region, address, pitch, space, adds, NOTHING, flags, slot=slot)

    def store(
        self,
        region: Region,
        address: int,
        *,
        pitch: int = 0,
        space: Space = Space.ROWS16,
        adds: Mapping[str, int] = NOTHING,
        extent: Mapping[str, int] = NOTHING,
    ) -> None:
        """Write a region to memory."""
        self._move(Opcode.STORE, region, address, pitch, space, adds, extent)

    def load_table(self, address: int) -> None:
        """Fill the activation table."""
        self.emit(Opcode.LOAD, space=Space.TABLE, address=address, rows=1, words=TABLE_ENTRIES)

    def load_norm(self, norm: PlacedNorm) -> Region:
        """Load gain and offset of a norm; the caller gives the region back."""
        region = self.pad.take(2, self.words(norm.width))
        self.load(region, norm.address)
        return region

    def norm(
        self,
        norm: PlacedNorm,
        gains: Region,
        x: Region,
        y: Region,
        *,
        adds: Mapping[str, int] = NOTHING,
    ) -> None:
        """Normalise rows."""
        self.emit(
            Opcode.NORM,
            Flag.RMS if norm.rms else NONE,
            adds,
            m=x.rows,
            n=norm.width,
            words=x.words,
            gamma=gains.base,
            beta=gains.base + gains.stride,
            shift=norm.shift,
            epsilon=norm.epsilon,
            **x.operand("x", slot=False),
            **y.operand("y"),
        )

    def _parameters(self, address: int, first: int, count: int) -> int:
        address += first * PARAMETER_BYTES
        if address % self.config.memory_width:
            raise OutOfSpace("parameter entries", count, self.ring.size)
        base, missing = self.ring.take((address, count), count)
        if missing:
            self.emit(
                Opcode.LOAD,
                space=Space.PARAMETERS,
                address=address,
                rows=1,
                words=count,
                base=base,
            )
        return base

    def step(self, matrix: Matrix) -> int:
        """Return the channels that pieces of a matrix must be multiples of."""
        return max(self.config.lanes, matrix.tiles(self.config).channels)

    def _channels(self, outputs: int, step: int) -> int:
        """Return how many channels one instruction takes, whole tiles of `step` if not all."""
        lanes, size = max(self.config.lanes, step), self.ring.size
        if outputs <= size:
            return outputs
        if size < lanes:
            raise OutOfSpace("parameter entries", lanes, size)
        # Two runs that alternate: one loads while the other is in use.
        return max(size // 2 // lanes, 1) * lanes

    def matmul(
        self,
        matrix: Matrix,
        x: Region,
        y: Region,
        *,
        flags: Flag = NONE,
        channels: tuple[int, int] | None = None,
        adds: Mapping[str, int] = NOTHING,
    ) -> None:
        """Multiply rows by weights in memory.

        Parameters
        ----------
        matrix : Matrix
            Weights.
        x, y : Region
            Operand and result; the residual, if there is one, is what `y` holds.
        flags : Flag
            RESIDUAL, ACTIVATE, NARROW, WIDE; CHAIN, CONTINUE, and HOLD, with which nothing is
            written and no parameters are needed.
        channels : (int, int), optional
            First and number of the channels to form, multiples of a word but at the end; all of
            them by default. `y` has the columns of all.
        """
        config, tiles = self.config, matrix.tiles(self.config)
        assert not channels or channels[0] % tiles.channels == 0, "pieces must be whole tiles"
        begin, count = channels or (0, matrix.outputs)
        flags |= Flag.WEIGHTS_IN_MEMORY | (Flag.SPARSE if matrix.sparse else NONE)
        # What is left out differs from tile to tile of channels.
        each = tiles.channels if matrix.skips else count
        stored = self._stored(matrix)
        for first, n in pieces(count, self._channels(count, tiles.channels)):
            p_base = 0
            if Flag.HOLD not in flags:
                p_base = self._parameters(matrix.parameters, begin + first, n)
            for row, m in pieces(x.rows, config.accumulator_rows):
                for inner, part in pieces(n, each):
                    channel = begin + first + inner
                    out = y.part(row, m).columns(channel // config.lanes)
                    place = out.operand("y") | stored(channel)
                    if Flag.RESIDUAL in flags:
                        place |= out.operand("r", slot=False) | {"r_shift": matrix.r_shift}
                    self.emit(
                        Opcode.MATMUL,
                        flags | (Flag.KEEP_EXPONENT if channel else NONE),
                        adds,
                        m=m,
                        n=part,
                        k_tiles=matrix.k_tiles,
                        p_base=p_base + inner,
                        **x.part(row, m).operand("x"),
                        **place,
                    )

    def _stored(self, matrix: Matrix) -> Callable[[int], dict[str, int]]:
        """Return what gives the operands that say how and where weights of a channel are stored."""
        tiles = matrix.tiles(self.config)
        found = {"code": matrix.code, "group": matrix.group}
        sizes = (tiles.bytes(matrix.k_tiles, skip) for skip in matrix.skips)
        starts = list(accumulate(sizes, initial=matrix.weights))

        def operands(channel: int) -> dict[str, int]:
            index = channel // tiles.channels
            if matrix.skips:
                return found | {"skip": matrix.skips[index], "w_address": starts[index]}
            return found | {"w_address": matrix.weights + index * tiles.bytes(matrix.k_tiles)}

        return operands

    def matmul_rows(
        self,
        matrix: Matrix,
        row: int,
        weights: Region,
        x: Region,
        y: Region,
        *,
        flags: Flag = NONE,
        adds: Mapping[str, int] = NOTHING,
        extent: Mapping[str, int] = NOTHING,
    ) -> None:
        """Multiply rows of weights, which stream, by rows; `y` is the transpose of the product.

        `weights` holds the weights from `row` on; `flags` are KEEP_EXPONENT, if `y` continues
        rows, and NARROW.
        """
        self.emit(
            Opcode.MATMUL,
            Flag.ROW_PARAMETERS | flags,
            adds,
            extent,
            m=weights.rows,
            n=x.rows,
            k_tiles=matrix.k_tiles,
            p_base=self._parameters(matrix.parameters, row, weights.rows),
            **weights.operand("x"),
            **x.operand("w"),
            **y.operand("y"),
        )

    def attend(
        self,
        q: Region,
        k: Region,
        v: Region,
        y: Region,
        operands: Mapping[str, int],
        flags: Flag = NONE,
        *,
        adds: Mapping[str, int] = NOTHING,
    ) -> None:
        """Attention of rows of Q over rows of K, `v` being the values transposed.

        `operands` are the number of keys, sizes, scale, and masks if `flags` ask for some.
        """
        self.emit(
            Opcode.ATTEND,
            flags,
            adds,
            m=q.rows,
            **q.operand("x"),
            **k.operand("w"),
            **v.operand("v"),
            **y.operand("y"),
            **operands,
        )

    def matmul_streamed(
        self, matrix: Matrix, x: Region, y: Region, *, most: int, keep: bool
    ) -> None:
        """Multiply weights in memory, which stream, by rows; `y` is the transpose of the product.

        At most `most` rows of weights are there at a time.
        """
        config = self.config
        most = min(most, self.ring.size, config.accumulator_rows)
        # Parameters are loaded in whole beats.
        step = max(config.memory_width // PARAMETER_BYTES, 1)
        most = max(most // step, 1) * step
        words = self.words(matrix.k_tiles * config.rows)
        row_bytes = words * config.lanes
        for row, m in pieces(matrix.outputs, most):
            weights = self.pad.take(m, words)
            self.load(weights, matrix.weights + row * row_bytes, space=Space.ROWS8)
            flags = Flag.KEEP_EXPONENT if keep else NONE
            self.matmul_rows(matrix, row, weights, x, y.part(row, m), flags=flags)
            self.pad.give(weights)


class Tensor:
    """Rows of the whole sequence, in the scratchpad or in memory.

    Work on them goes block by block: `open`, then `close`. Resident rows cost nothing but
    their place; others are loaded and stored.
    """

    def __init__(self, builder: Builder, name: str, rows: int, words: int) -> None:
        self.builder, self.rows, self.words = builder, rows, words
        self.resident = name in builder.plan.resident
        self.region: Region | None = None
        self.pitch = words * builder.config.word_bytes
        self.address = 0 if self.resident else builder.memory.reserve(name, rows * self.pitch)

    def acquire(self) -> None:
        """Take the place of the whole, before the first `open`."""
        if self.resident:
            self.region = self.builder.pad.take(self.rows, self.words)

    def release(self) -> None:
        """Give the place back."""
        if self.region is not None:
            self.builder.pad.give(self.region)
            self.region = None

    def open(
        self, first: int, rows: int, *, load: bool = True, word: int = 0, words: int = 0
    ) -> Region:
        """Return a region for some rows, or some words of them; with what they hold, if `load`."""
        words = words or self.words
        if self.region is not None:
            return self.region.part(first, rows).columns(word, words)
        region = self.builder.pad.take(rows, words)
        if load:
            self.builder.load(region, self._place(first, word), pitch=self.pitch)
        return region

    def close(self, region: Region, first: int, *, store: bool = True, word: int = 0) -> None:
        """Keep what an opened region holds, if `store`, and give it back."""
        if self.region is not None:
            return
        if store:
            self.builder.store(region, self._place(first, word), pitch=self.pitch)
        self.builder.pad.give(region)

    def _place(self, first: int, word: int) -> int:
        return self.address + first * self.pitch + word * self.builder.config.word_bytes
