"""Brings stationary tiles to the array, one column a cycle, behind the tile in use."""

from amaranth import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.cores.arith import delayed
from celosia.cores.quantise import Quantiser
from celosia.cores.systolic import TileColumn
from celosia.rtl.exponents import ExponentRead, ScratchpadWord
from celosia.rtl.operand_select import select_part
from celosia.rtl.passes import TilePass, address_bits, index_bits, of_packed, part_bits
from celosia.rtl.stream import StreamFIFO

__all__ = ["GroupScales", "TileColumns", "TileLoader", "TilePart"]


class TilePart(enum.Enum, shape=2):
    """What a step of a tile brings: R bytes of a column, of scales or of indices."""

    COLUMN = 0
    SCALES = 1
    INDICES = 2


class GroupScales(data.ArrayLayout):
    """Scales of the 2C channels of a group, the C of the low halves first."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__(8, 2 * config.columns)


class TileColumns(wiring.Component):
    """Walks the columns of a tile: scratchpad requests, and what to do with the answers.

    Every tile takes C steps at least, even where it has fewer columns: it keeps passes C cycles
    apart, which the accumulators' read-modify-write relies on. Scales come before the columns of a
    tile and indices behind them: an index reaches eight columns at once, the last of which must
    have swapped.

    Members
    -------
    i : In(stream.Signature(TilePass(config)))
        Tiles, in order.
    requests : Out(stream.Signature(address_bits))
        Scratchpad words that hold the columns.
    steps : Out(stream.Signature(...))
        One step a column: is it loaded, from memory or from the scratchpad, with which exponent.
    """

    i: stream.Interface
    requests: stream.Interface
    steps: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        #: Steps of each part.
        self.counts = {TilePart.COLUMN: config.columns}
        if config.products > 1:
            self.counts[TilePart.SCALES] = config.scale_bytes // config.rows
        if config.sparsity > 1:
            self.counts[TilePart.INDICES] = config.index_bytes // config.rows
        self.step_layout = data.StructLayout({
            "kind": TilePart,
            **of_packed(config, code=2),
            "column": range(max(self.counts.values())),
            "loads": 1,
            "from_memory": 1,
            "part": part_bits(config.lanes // config.rows),
            "slot": index_bits(config.exponent_slots),
            "first": 1,
            "last": 1,
        })
        super().__init__({
            "i": In(stream.Signature(TilePass(config))),
            "requests": Out(stream.Signature(address_bits(config))),
            "steps": Out(stream.Signature(self.step_layout)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        tile = self.i.payload
        begun = Signal()

        # Which part, and which step of it.
        kind = Signal(TilePart)
        kind_now = Signal(TilePart)
        column = Signal(range(max(self.counts.values())))
        ends = Signal()
        m.d.comb += kind_now.eq(kind)
        if self.config.products > 1:
            m.d.comb += self.steps.p.code.eq(tile.code)
            with m.If(~begun & tile.scales):
                m.d.comb += kind_now.eq(TilePart.SCALES)
        is_column = Signal()
        m.d.comb += is_column.eq(kind_now == TilePart.COLUMN)
        address = Signal(address_bits(self.config))
        here = Signal.like(address)
        m.d.comb += here.eq(Mux(begun, address, tile.base))

        loads = Signal()
        asks = Signal()
        asked = Signal()  # the request of this column has been taken
        last = Signal()
        m.d.comb += [
            loads.eq(~is_column | (column < tile.columns)),
            asks.eq(loads & ~tile.from_memory),
            self.requests.payload.eq(here),
            self.requests.valid.eq(self.i.valid & asks & ~asked),
            self.steps.valid.eq(self.i.valid & (~asks | asked | self.requests.ready)),
            self.steps.p.kind.eq(kind_now),
            self.steps.p.column.eq(column),
            self.steps.p.loads.eq(loads),
            self.steps.p.from_memory.eq(tile.from_memory),
            self.steps.p.part.eq(tile.part),
            self.steps.p.slot.eq(tile.slot + column),
            self.steps.p.first.eq(~begun),
            self.steps.p.last.eq(last),
            self.i.ready.eq(self.steps.valid & self.steps.ready & last),
        ]

        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += asked.eq(1)
        with m.If(self.steps.valid & self.steps.ready):
            m.d.sync += [
                asked.eq(0),
                begun.eq(~last),
                column.eq(Mux(ends, 0, column + 1)),
                kind.eq(kind_now),
                address.eq(here + tile.stride),
            ]
            with m.If(ends):
                m.d.sync += kind.eq(TilePart.COLUMN)
            if self.config.sparsity > 1:
                with m.If(ends & is_column & tile.sparse):
                    m.d.sync += kind.eq(TilePart.INDICES)

        with m.Switch(kind_now):
            for part, count in self.counts.items():
                with m.Case(part):
                    m.d.comb += ends.eq(column == count - 1)
        indices_follow = tile.sparse if self.config.sparsity > 1 else Const(0)
        with m.If(is_column):
            m.d.comb += last.eq(ends & ~indices_follow)
        with m.Elif(kind_now == TilePart.INDICES):
            m.d.comb += last.eq(ends)
        return m


class TileLoader(wiring.Component):
    """Loads tiles from the weight stream or from the scratchpad, as int8.

    A tile is loaded while the one before it is in use: `holds` says that one is complete, `taken`
    that the row which swaps to it has left. A row reaches the array 3 cycles after it was let go,
    a column 2 cycles after it left stage 1, where the first one behind a complete tile waits: it
    goes on in the cycle after `taken` and arrives with the row that swaps, which is the earliest
    that the array allows. `holds` comes with the last column at stage 1, in time for a row in the
    same cycle. So tiles that are there in time follow each other every C cycles.

    Members
    -------
    i : In(stream.Signature(TilePass(config)))
        Tiles, in order.
    requests, words : scratchpad read port
    weights : In(stream.Signature(R * int8))
        Columns of the tiles that come from memory.
    exponents : Out(ExponentRead(config))
        Exponent read port.
    load : Out(TileColumn(config, pe))
        To the array.
    scales : Out(stream.Signature(GroupScales(config), always_ready=True))
        Scales of the groups, in order. Only of packed elements, as the next one.
    scales_room : In(1)
        Two more can be taken.
    holds : Out(1)
        A tile is complete.
    taken : In(1)
        The complete tile comes into use.
    starved : Out(1)
        A column from memory is wanted and not there.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.word_layout = ScratchpadWord(config)
        self.column_layout = data.ArrayLayout(signed(8), config.rows)
        more = {}
        if config.products > 1:
            scales = stream.Signature(GroupScales(config), always_ready=True)
            more = {"scales": Out(scales), "scales_room": In(1)}
        super().__init__({
            **more,
            "i": In(stream.Signature(TilePass(config))),
            "requests": Out(stream.Signature(address_bits(config))),
            "words": In(stream.Signature(self.word_layout)),
            "weights": In(stream.Signature(self.column_layout)),
            "exponents": Out(ExponentRead(config)),
            "load": Out(TileColumn(config, config.pe)),
            "holds": Out(1),
            "taken": In(1),
            "starved": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.columns = columns = TileColumns(self.config)
        m.submodules.steps = steps = StreamFIFO(columns.step_layout, 8)
        m.submodules.quantiser = quantiser = Quantiser(self.config.rows)
        wiring.connect(m, wiring.flipped(self.i), columns.i)
        wiring.connect(m, columns.requests, wiring.flipped(self.requests))
        wiring.connect(m, columns.steps, steps.i)

        # Stage 0: take a column when its data is there and the one before it goes on.
        step = steps.o.payload
        now = Signal(columns.step_layout, reset_less=True)
        valid = Signal()
        waits = Signal()  # the column at stage 1 is the first behind a complete tile
        there = Signal()
        room = Signal()
        go = Signal()
        if self.config.products > 1:
            m.d.comb += room.eq((step.kind != TilePart.SCALES) | self.scales_room)
        else:
            m.d.comb += room.eq(1)
        m.d.comb += [
            waits.eq(valid & now.first & self.holds),
            there.eq(~step.loads | Mux(step.from_memory, self.weights.valid, self.words.valid)),
            go.eq(steps.o.valid & there & ~waits & room),
            steps.o.ready.eq(go),
            self.words.ready.eq(go & step.loads & ~step.from_memory),
            self.weights.ready.eq(go & step.loads & step.from_memory),
            self.exponents.address.eq(Mux(waits, now.slot, step.slot)),
            self.starved.eq(
                steps.o.valid & step.loads & step.from_memory & ~self.weights.valid & ~self.holds
            ),
        ]
        m.d.sync += valid.eq(go | waits)
        with m.If(go & step.last):
            m.d.sync += self.holds.eq(1)
        with m.If(self.taken):
            m.d.sync += self.holds.eq(0)

        # Stage 1: the exponent is there. Weights take the place of all parts of a word.
        weights = Signal(data.ArrayLayout(signed(16), self.config.rows))
        m.d.comb += [weights[lane].eq(weight) for lane, weight in enumerate(self.weights.payload)]
        parts = self.config.lanes // self.config.rows
        row = Signal(self.word_layout, reset_less=True)
        with m.If(~waits):
            m.d.sync += [
                Value.cast(row).eq(
                    Mux(
                        step.from_memory,
                        Value.cast(weights).replicate(parts),
                        Value.cast(self.words.payload),
                    )
                ),
                now.eq(step),
            ]
        part = Signal(data.ArrayLayout(signed(16), self.config.rows))
        select_part(m, row, now.part, part)
        m.d.comb += [
            quantiser.i.valid.eq(valid & now.loads & ~waits),
            quantiser.i.data.eq(part),
            # An int8 passes the quantiser unchanged with exponent 0.
            quantiser.i.exponent.eq(Mux(now.from_memory, 0, self.exponents.exponent)),
        ]

        # Later stages: the column's number follows its data.
        late = columns.step_layout(delayed(m, Value.cast(now), quantiser.latency, "late"))
        m.d.comb += [
            self.load.valid.eq(quantiser.o.valid & (late.kind == TilePart.COLUMN)),
            self.load.column.eq(late.column),
            self.load.data.eq(quantiser.o.data),
        ]
        if self.config.products > 1:
            m.d.comb += self.load.mode.eq(late.code)
            valid = quantiser.o.valid & (late.kind == TilePart.SCALES)
            self._gather_scales(m, valid, late.column, quantiser.o.data)
        if self.config.sparsity > 1:
            # Padding behind the last plane has no meaning.
            blocks = max(1, self.config.columns // 8)
            indices = quantiser.o.valid & (late.kind == TilePart.INDICES)
            m.d.comb += [
                self.load.plane_valid.eq(
                    indices & (late.column < blocks * self.config.index_planes)
                ),
                self.load.plane.eq(late.column >> exact_log2(blocks)),
                self.load.block.eq(late.column & (blocks - 1)),
            ]

        return m

    def _gather_scales(self, m: Module, valid: Value, row: Value, values) -> None:
        """Collect the scales of a group, R bytes at a time."""
        held = Signal(GroupScales(self.config), reset_less=True)
        count = len(Value.cast(held)) // 8
        parts = max(1, count // self.config.rows)
        taken = Value.cast(values)[: 8 * count]
        with m.If(valid):
            with m.Switch(row):
                for part in range(parts):
                    with m.Case(part):
                        target = Value.cast(held)[part * len(taken) : (part + 1) * len(taken)]
                        m.d.sync += target.eq(taken)
        complete = Signal()
        m.d.sync += complete.eq(valid & (row == parts - 1))
        m.d.comb += [self.scales.valid.eq(complete), self.scales.payload.eq(held)]
