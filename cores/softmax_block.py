"""Front of the streaming softmax: the exponent of each row of a block, and its logits kept."""

from amaranth import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from celosia.config import MachineConfig
from celosia.cores.arith import delayed

__all__ = [
    "EXPONENT",
    "FRACTION_BITS",
    "BlockExponent",
    "LogitPart",
    "PartQueue",
    "parts_of",
]

#: Fraction bits of a base-2 logit.
FRACTION_BITS = 6
#: Shape of the exponent of a block (-512 to 512) and of a row: each doubling of the number of
#: blocks adds 1 to the latter at most.
EXPONENT = signed(11)


def parts_of(config: MachineConfig) -> int:
    """Parts of C lanes in a row of L lanes."""
    return config.lanes // config.columns


class LogitPart(wiring.Signature):
    """C lanes of the logits of one row and block.

    Members
    -------
    valid : Out(1)
        A part is presented.
    data : Out(data.ArrayLayout(signed(16), columns))
        Base-2 logits with 6 fraction bits.
    lane_mask : Out(columns)
        Lanes whose key the row sees.
    row : Out(range(attention_rows))
        Row of the block.
    part : Out(range(lanes // columns))
        Which part of the row: they come in order, all parts of a row before the next row. With
        one part only, a bit that is ignored.
    first : Out(1)
        The block is the first of its attention.
    last : Out(1)
        The block is the last of its attention.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "valid": Out(1),
            "data": Out(data.ArrayLayout(signed(16), config.columns)),
            "lane_mask": Out(config.columns),
            "row": Out(range(config.attention_rows)),
            "part": Out(range(max(2, parts_of(config)))),
            "first": Out(1),
            "last": Out(1),
        })


class BlockExponent(wiring.Component):
    """Integer exponent of each row of a block: the ceiling of its largest logit that counts.

    `complete` follows the last part of a row by `latency` cycles; the other outputs change in the
    cycle after it and then hold until the cycle after the next `complete`. A row whose lanes are
    all masked counts as -512.

    Parameters
    ----------
    config : MachineConfig
        Columns, lanes and attention rows.

    Members
    -------
    logits : In(LogitPart(config))
        One part in each cycle, or none.
    complete : Out(1)
        All parts of a row have been compared.
    exponent : Out(EXPONENT)
        `ceil(max / 64)`.
    row, first, last : Out
        As they came with the row's last part.
    """

    logits: wiring.PureInterface
    complete: Signal
    exponent: Signal
    row: Signal
    first: Signal
    last: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "logits": In(LogitPart(config)),
            "complete": Out(1),
            "exponent": Out(EXPONENT),
            "row": Out(range(config.attention_rows)),
            "first": Out(1),
            "last": Out(1),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row's last part to `complete`."""
        return 1 + exact_log2(self.config.columns) + (parts_of(self.config) > 1)

    def elaborate(self, platform) -> Module:
        m = Module()
        parts = parts_of(self.config)

        # Stage 1. The ceiling is the integer part plus one if there is a fraction: these 11 bits
        # order logits as far as it matters. A masked lane is as the least logit.
        level = []
        for lane, logit in enumerate(self.logits.data):
            key = Signal(EXPONENT, name=f"key_0_{lane}", reset_less=True)
            exact = Cat(logit[:FRACTION_BITS].any(), logit[FRACTION_BITS:]).as_signed()
            m.d.sync += key.eq(Mux(self.logits.lane_mask[lane], exact, -(1 << 10)))
            level.append(key)

        # One stage for each level of the tree of maxima.
        while len(level) > 1:
            keys = level
            level = [
                _greater(m, a, b, f"key_{len(keys)}_{lane}")
                for lane, (a, b) in enumerate(zip(keys[::2], keys[1::2], strict=True))
            ]

        # With several parts a last stage takes the maximum over them.
        cycles = 1 + exact_log2(self.config.columns)
        (greatest,) = level
        last_part = self.logits.valid
        if parts > 1:
            last_part &= self.logits.part == parts - 1
            valid = delayed(m, self.logits.valid, cycles, "valid", reset_less=False)
            is_first = delayed(m, self.logits.part == 0, cycles, "is_first")
            so_far = Signal(EXPONENT, reset_less=True)
            with m.If(valid):
                m.d.sync += so_far.eq(Mux(is_first | (greatest > so_far), greatest, so_far))
            greatest = so_far

        complete = delayed(m, last_part, self.latency, "complete", reset_less=False)
        row = delayed(m, self.logits.row, self.latency, "row")
        first = delayed(m, self.logits.first, self.latency, "first")
        last = delayed(m, self.logits.last, self.latency, "last")
        m.d.comb += self.complete.eq(complete)
        with m.If(complete):
            m.d.sync += [
                self.exponent.eq((greatest >> 1) + greatest[0]),
                self.row.eq(row),
                self.first.eq(first),
                self.last.eq(last),
            ]

        return m


def _greater(m: Module, a: Signal, b: Signal, name: str) -> Signal:
    greater = Signal.like(a, name=name, reset_less=True)
    m.d.sync += greater.eq(Mux(a > b, a, b))
    return greater


class PartQueue(wiring.Component):
    """Keeps the parts of a row until its exponent is known, then gives them back to back.

    The first part comes out in the cycle after `complete`, the others in the cycles after it.

    Parameters
    ----------
    config : MachineConfig
        Columns and lanes.
    latency : int
        Cycles from a row's last part to `complete`.

    Members
    -------
    logits : In(LogitPart(config))
        Parts in order.
    complete : In(1)
        Start to give a row.
    valid : Out(1)
        A part is given.
    first_part, last_part : Out(1)
        It is the first, the last one of its row.
    data, lane_mask : Out
        The part, as it came.
    """

    logits: wiring.PureInterface
    complete: Signal
    valid: Signal
    first_part: Signal
    last_part: Signal
    data: data.View
    lane_mask: Signal

    def __init__(self, config: MachineConfig, latency: int) -> None:
        self.config = config
        # Behind the part that is read there can be the rest of its row and those that came since.
        self.depth = 1 << ceil_log2(parts_of(config) + latency + 1)
        super().__init__({
            "logits": In(LogitPart(config)),
            "complete": In(1),
            "valid": Out(1),
            "first_part": Out(1),
            "last_part": Out(1),
            "data": Out(data.ArrayLayout(signed(16), config.columns)),
            "lane_mask": Out(config.columns),
        })

    def elaborate(self, platform) -> Module:
        m = Module()

        width = 17 * self.config.columns
        m.submodules.storage = storage = memory.Memory(shape=width, depth=self.depth, init=[])
        write, read = storage.write_port(), storage.read_port(domain="comb")

        m.d.comb += [
            write.en.eq(self.logits.valid),
            write.data.eq(Cat(self.logits.lane_mask, self.logits.data)),
        ]
        with m.If(self.logits.valid):
            m.d.sync += write.addr.eq(write.addr + 1)

        reading, is_first, is_last = self._sequence(m)
        with m.If(reading):
            m.d.sync += read.addr.eq(read.addr + 1)

        kept = Signal(width, reset_less=True)
        m.d.sync += [
            kept.eq(read.data),
            self.valid.eq(reading),
            self.first_part.eq(is_first),
            self.last_part.eq(is_last),
        ]
        m.d.comb += Cat(self.lane_mask, self.data).eq(kept)

        return m

    def _sequence(self, m: Module) -> tuple[Value, Value, Value]:
        """Count the parts of a row: whether one is read, and whether it is the first, the last."""
        parts = parts_of(self.config)
        if parts == 1:
            return self.complete, Const(1), Const(1)
        part, reading = Signal(range(parts)), Signal()
        is_first = part == 0
        m.d.comb += reading.eq(self.complete | ~is_first)
        m.d.sync += part.eq(part + reading)
        return reading, is_first, part == parts - 1
