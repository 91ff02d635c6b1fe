# amaranth: UnusedElaboratable=no
"""Back of the streaming softmax: exponent and denominator of each row, and reciprocals."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.cores.arith import delayed
from celosia.cores.divide import PipelinedReciprocal
from celosia.cores.softmax_block import EXPONENT
from celosia.cores.softmax_power import PROBABILITY_BITS

__all__ = [
    "DENOMINATOR_BITS",
    "RECIPROCAL_BITS",
    "SHIFT_BITS",
    "DenominatorReciprocal",
    "RowState",
]

#: Fraction bits of a denominator.
DENOMINATOR_FRACTION = 14
#: Bits of a denominator: when the top one is set it is halved, and no block adds as much as half
#: of that.
DENOMINATOR_BITS = 16 + DENOMINATOR_FRACTION

#: Bits of a shift of accumulators.
SHIFT_BITS = 5
#: Bits of a reciprocal.
RECIPROCAL_BITS = 15


class RowState(wiring.Component):
    """Exponent M and denominator l of each row: read, changed, written for each row that comes.

    `a` and `b` follow `valid` by `shift_latency` cycles, `denominator` by `latency` cycles. A row
    must not come again within `turnaround` cycles. One row per cycle; it never stalls.

    Parameters
    ----------
    config : MachineConfig
        Attention rows and lanes.
    total_latency : int
        Cycles from `a` and `b` to `total`; at least 1.

    Members
    -------
    valid : In(1)
        A row is presented.
    row : In(range(attention_rows))
        Which.
    first : In(1)
        The block is its first one: what is kept of the row does not count.
    exponent : In(EXPONENT)
        Exponent of the block.
    total : In(8 + log2(lanes))
        Sum of the block's probabilities, `shift_latency + total_latency` cycles after `valid`.
    a : Out(5)
        Right shift of what has been accumulated, at most 31.
    b : Out(5)
        Right shift of what the block adds, at most 31.
    denominator : Out(30)
        The row's denominator with this block.
    """

    #: Cycles from a row to its shifts.
    shift_latency = 4

    valid: Signal
    row: Signal
    first: Signal
    exponent: Signal
    total: Signal
    a: Signal
    b: Signal
    denominator: Signal

    def __init__(self, config: MachineConfig, total_latency: int) -> None:
        self.config = config
        self.total_latency = total_latency
        super().__init__({
            "valid": In(1),
            "row": In(range(config.attention_rows)),
            "first": In(1),
            "exponent": In(EXPONENT),
            "total": In(PROBABILITY_BITS + exact_log2(config.lanes)),
            "a": Out(SHIFT_BITS),
            "b": Out(SHIFT_BITS),
            "denominator": Out(DENOMINATOR_BITS),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row to its denominator."""
        return self.shift_latency + self.total_latency + 2

    @property
    def turnaround(self) -> int:
        """Cycles after which the same row may come again."""
        return self.latency

    def elaborate(self, platform) -> Module:
        m = Module()

        layout = data.StructLayout({"exponent": EXPONENT, "denominator": DENOMINATOR_BITS})
        m.submodules.storage = storage = memory.Memory(
            shape=layout, depth=self.config.attention_rows, init=[]
        )
        write, read = storage.write_port(), storage.read_port()

        # Stages 1 and 2: read; block RAM is too slow for any logic before a register.
        m.d.comb += read.addr.eq(self.row)
        found = Signal(layout, reset_less=True)
        m.d.sync += found.eq(read.data)
        first = delayed(m, self.first, 2, "first")
        block = delayed(m, self.exponent, 2, "block")

        # Stage 3: before the first block the row is empty and has the block's exponent.
        kept = Signal(layout, reset_less=True)
        m.d.sync += [
            kept.exponent.eq(Mux(first, block, found.exponent)),
            kept.denominator.eq(Mux(first, 0, found.denominator)),
        ]
        block = delayed(m, block, 1, "kept_block")

        # Stage 4: shifts. Only a denominator that is not shifted can be too large, since its top
        # bit says that it is, so that the bump needs no shifted denominator.
        rise, fall = Signal(len(block) + 1), Signal(len(block) + 1)
        bump, rises = Signal(), Signal()
        exponent = Signal(EXPONENT, reset_less=True)
        m.d.comb += [
            bump.eq(kept.denominator[-1]),
            rise.eq(block - kept.exponent),
            rises.eq(~rise[-1] & rise.any()),
            fall.eq(kept.exponent - block + bump),
        ]
        m.d.sync += [
            self.a.eq(Mux(rises, _clamped(rise), bump)),
            self.b.eq(Mux(rises, 0, _clamped(fall))),
            exponent.eq(Mux(rises, block, kept.exponent + bump)),
        ]

        # Stage 5: the denominator is shifted and waits for the sum, which is then shifted too.
        denominator = delayed(m, kept.denominator, 1, "denominator")
        old = Signal(DENOMINATOR_BITS, reset_less=True)
        added = Signal(DENOMINATOR_BITS, reset_less=True)
        total = Cat(Const(0, DENOMINATOR_FRACTION), self.total)
        m.d.sync += [
            old.eq(denominator >> self.a),
            added.eq(total >> delayed(m, self.b, self.total_latency, "b")),
        ]

        # Last stage: their sum, kept for the next block.
        written = self.latency - 1
        old = delayed(m, old, self.total_latency, "old")
        m.d.comb += [
            write.en.eq(delayed(m, self.valid, written, "valid", reset_less=False)),
            write.addr.eq(delayed(m, self.row, written, "row")),
            write.data.exponent.eq(delayed(m, exponent, self.total_latency + 1, "exponent")),
            write.data.denominator.eq(old + added),
        ]
        m.d.sync += self.denominator.eq(write.data.denominator)

        return m


def _clamped(shift: Signal) -> Value:
    """Return a shift that is not negative, as 5 bits; all from 31 on act as 31."""
    return shift[:SHIFT_BITS] | shift[SHIFT_BITS:-1].any().replicate(SHIFT_BITS)


class DenominatorReciprocal(wiring.Component):
    """Reciprocal of a row's denominator as a 15-bit number and a right shift.

    With `l_n` the denominator shifted to 15 bits, the top bit set: `rcp = (2^29 - 1) // l_n` and
    `shift = guard_bits + bitlen(denominator)`. `latency` cycles; one per cycle; it never stalls.

    Parameters
    ----------
    config : MachineConfig
        Accumulator width.

    Members
    -------
    denominator : In(30)
        At least `128 · 2^14`, as every block with a key makes it; for 0, of a row without any,
        `rcp` and `shift` are arbitrary.
    rcp : Out(15)
        Reciprocal.
    shift : Out(6)
        Right shift after the product with it.
    """

    denominator: Signal
    rcp: Signal
    shift: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.divider = PipelinedReciprocal(RECIPROCAL_BITS)
        super().__init__({
            "denominator": In(DENOMINATOR_BITS),
            "rcp": Out(RECIPROCAL_BITS),
            "shift": Out(6),
        })

    @property
    def latency(self) -> int:
        """Cycles from a denominator to its reciprocal."""
        return 2 + self.divider.latency

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.divider = self.divider
        width = DENOMINATOR_BITS

        # The largest probability of a block is at least 128, so a denominator has at most eight
        # leading zeros. They go in steps of 8 and 4 in stage 1, of 2 and 1 in stage 2.
        rest, zeros = self.denominator, []
        for step in (8, 4, 2, 1):
            empty, shifted = Signal(name=f"empty_{step}"), Signal(width, name=f"shifted_{step}")
            m.d.comb += [
                empty.eq(~rest[width - step :].any()),
                shifted.eq(Mux(empty, rest << step, rest)),
            ]
            rest, zeros = shifted, [empty, *zeros]
            if step in (4, 1):
                rest = delayed(m, rest, 1, f"rest_{step}")
                zeros = [delayed(m, zero, 1, f"zero_{step}_{i}") for i, zero in enumerate(zeros)]

        m.d.comb += [
            self.divider.divisor.eq(rest[width - RECIPROCAL_BITS :]),
            self.rcp.eq(self.divider.quotient),
        ]
        shift = Signal(6)
        m.d.comb += shift.eq(self.config.guard_bits + width - Cat(*zeros))
        m.d.comb += self.shift.eq(delayed(m, shift, self.divider.latency, "shift"))

        return m
