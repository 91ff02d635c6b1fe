"""Middle of the streaming softmax: probabilities relative to a block's exponent, and their sum."""

from amaranth import Array, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.cores.arith import adder_tree, delayed
from celosia.cores.softmax_block import EXPONENT, FRACTION_BITS, parts_of

__all__ = ["PROBABILITY_BITS", "PartSum", "PowersOfTwo"]

#: Bits of a probability.
PROBABILITY_BITS = 8

#: `255·256·2^(-f/64)`, rounded and without its 7 lowest bits, which no shift ever brings back.
_TABLE = [round(255 * 256 * 2 ** (-f / 64)) >> 7 for f in range(1 << FRACTION_BITS)]


class PowersOfTwo(wiring.Component):
    """Probabilities of C logits relative to an exponent not below any of them.

    With `δ = 64·exponent - logit` the probability is `rnd(T[δ & 63], 8 + (δ >> 6))`,
    `T[f] = round(255·256·2^(-f/64))`, and 0 for masked lanes. One part per cycle; it never stalls.

    Parameters
    ----------
    config : MachineConfig
        Columns.

    Members
    -------
    exponent : In(EXPONENT)
        Exponent of the row.
    data, lane_mask : In
        Logits of one part, and which of them count.
    probabilities : Out(data.ArrayLayout(8, columns))
        Probabilities, `latency` cycles later.
    """

    #: Cycles from logits to probabilities.
    latency = 4

    exponent: Signal
    data: data.View
    lane_mask: Signal
    probabilities: data.View

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "exponent": In(EXPONENT),
            "data": In(data.ArrayLayout(signed(16), config.columns)),
            "lane_mask": In(config.columns),
            "probabilities": Out(data.ArrayLayout(PROBABILITY_BITS, config.columns)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()

        for lane in range(self.config.columns):
            m.submodules[f"lane_{lane}"] = power = _PowerOfTwo()
            m.d.comb += [
                power.exponent.eq(self.exponent),
                power.logit.eq(self.data[lane]),
                power.counts.eq(self.lane_mask[lane]),
                self.probabilities[lane].eq(power.probability),
            ]

        return m


class _PowerOfTwo(wiring.Component):
    exponent: In(EXPONENT)
    logit: In(signed(16))
    counts: In(1)
    probability: Out(PROBABILITY_BITS)

    def elaborate(self, platform) -> Module:
        m = Module()

        # Stage 1: distance below the exponent. Of a masked lane it may be negative.
        distance = Signal(18, reset_less=True)
        counts = Signal(reset_less=True)
        m.d.sync += [
            distance.eq((self.exponent << FRACTION_BITS) - self.logit),
            counts.eq(self.counts),
        ]

        # Stage 2: power of the fraction, with a bit more than the result. Beyond eight octaves
        # nothing is left of it.
        power = Signal(PROBABILITY_BITS + 1, reset_less=True)
        octaves = Signal(4, reset_less=True)
        zero = Signal(reset_less=True)
        table = Array(Const(entry, len(power)) for entry in _TABLE)
        m.d.sync += [
            power.eq(table[distance[:FRACTION_BITS]]),
            octaves.eq(distance[FRACTION_BITS:]),
            zero.eq(~counts | distance[FRACTION_BITS + 4 :].any()),
        ]

        # Stage 3: octaves. Stage 4: the last bit rounds.
        shifted = Signal.like(power)
        m.d.sync += [
            shifted.eq(Mux(zero, 0, power >> octaves)),
            self.probability.eq((shifted >> 1) + shifted[0]),
        ]

        return m


class PartSum(wiring.Component):
    """Sum of the probabilities of a row.

    Parameters
    ----------
    config : MachineConfig
        Columns and lanes.

    Members
    -------
    valid : In(1)
        A part is presented.
    first_part : In(1)
        It is the first of its row.
    probabilities : In(data.ArrayLayout(8, columns))
        The part.
    total : Out(8 + log2(lanes))
        Sum over the row, `latency` cycles after its last part, until the next row's first one is
        added up.
    """

    valid: Signal
    first_part: Signal
    probabilities: data.View
    total: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "valid": In(1),
            "first_part": In(1),
            "probabilities": In(data.ArrayLayout(PROBABILITY_BITS, config.columns)),
            "total": Out(PROBABILITY_BITS + exact_log2(config.lanes)),
        })

    @property
    def tree_latency(self) -> int:
        """Cycles to sum one part: two levels of the tree in each."""
        return -(-exact_log2(self.config.columns) // 2)

    @property
    def latency(self) -> int:
        """Cycles from a row's last part to the row's sum."""
        return self.tree_latency + (parts_of(self.config) > 1)

    def elaborate(self, platform) -> Module:
        m = Module()

        level = [self.probabilities[column] for column in range(self.config.columns)]
        for stage in range(self.tree_latency):
            sums = [adder_tree(level[at : at + 4]) for at in range(0, len(level), 4)]
            level = [
                delayed(m, total, 1, f"sum_{stage}_{index}") for index, total in enumerate(sums)
            ]
        (total,) = level

        if parts_of(self.config) > 1:
            valid = delayed(m, self.valid, self.tree_latency, "valid", reset_less=False)
            first_part = delayed(m, self.first_part, self.tree_latency, "first_part")
            row_total = Signal.like(self.total, reset_less=True)
            with m.If(valid):
                m.d.sync += row_total.eq(Mux(first_part, 0, row_total) + total)
            total = row_total
        m.d.comb += self.total.eq(total)

        return m
