"""Writes loaded rows to the scratchpad."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.isa import Space
from celosia.rtl.exponents import ScratchpadWrite
from celosia.rtl.passes import of_chained

__all__ = ["LoadJob", "RowWriter"]


class LoadJob(data.StructLayout):
    """Where the data of one LOAD goes; named as its operands. `chained` rows come word by word."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "space": 2,
            "rows": 16,
            "words": 16,
            "base": 16,
            "stride": range(config.scratchpad_words),
            "slot": range(config.exponent_slots),
            **of_chained(config, chained=1),
        })


class RowWriter(wiring.Component):
    """Gathers beats into words and writes them, row after row, or word after word of all rows.

    One beat per cycle, but for one cycle at the start of a job and one at its end, as long as
    `writes` takes the words.

    Parameters
    ----------
    config : MachineConfig
        The machine.

    Members
    -------
    i : In(stream.Signature(LoadJob(config)))
        Rows of at least one word, `rows16` or `rows8`; taken with the last write.
    data : In(stream.Signature(8 * memory_width))
        Beats of the rows.
    writes : Out(stream.Signature(ScratchpadWrite(config)))
        Words.
    """

    i: stream.Interface
    data: stream.Interface
    writes: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(LoadJob(config))),
            "data": In(stream.Signature(8 * config.memory_width)),
            "writes": Out(stream.Signature(ScratchpadWrite(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        job = self.i.p
        begun = Signal()
        last_word = Signal()
        written = Signal()
        m.d.comb += written.eq(self.writes.valid & self.writes.ready)

        # Where the word goes.
        address = Signal(range(self.config.scratchpad_words), reset_less=True)
        row = Signal.like(address, reset_less=True)
        next_row = Signal.like(address)
        slot = Signal(range(self.config.exponent_slots), reset_less=True)
        words = Signal(16, reset_less=True)
        rows = Signal(16, reset_less=True)
        first = Signal(reset_less=True)
        ends_row = Signal()
        # A run of words in memory: of one row, or one of each row.
        runs = self._runs(job)
        self._gather(m, begun, ends_row, last_word, written)
        m.d.comb += [
            next_row.eq(row + runs["next"]),
            ends_row.eq(words == 1),
            last_word.eq(ends_row & (rows == 1)),
            self.i.ready.eq(written & last_word),
            self.writes.p.address.eq(address),
            self.writes.p.mask.eq(-1),
            self.writes.p.slot.eq(slot),
            self.writes.p.first.eq(first),
        ]
        with m.If(~begun):
            m.d.sync += [
                begun.eq(self.i.valid),
                address.eq(job.base),
                row.eq(job.base),
                slot.eq(job.slot),
                words.eq(runs["words"]),
                rows.eq(runs["count"]),
                first.eq(1),
            ]
        with m.Elif(written):
            m.d.sync += [
                begun.eq(~last_word),
                address.eq(address + runs["step"]),
                words.eq(words - 1),
                first.eq(ends_row),
            ]
            with m.If(ends_row):
                m.d.sync += [
                    address.eq(next_row),
                    row.eq(next_row),
                    slot.eq(slot + 1),
                    words.eq(runs["words"]),
                    rows.eq(rows - 1),
                ]
            if self.config.chaining:
                with m.If(job.chained):
                    m.d.sync += [
                        slot.eq(Mux(ends_row, job.slot, slot + 1)),
                        first.eq(first & ~ends_row),
                    ]

        return m

    def _runs(self, job) -> dict[str, Value]:
        """Return how many runs of words there are, of how many words, and how far both step."""
        plain = {"words": job.words, "count": job.rows, "step": Const(1), "next": job.stride}
        if not self.config.chaining:
            return plain
        turned = {"words": job.rows, "count": job.words, "step": job.stride, "next": Const(1)}
        return {name: Mux(job.chained, turned[name], plain[name]) for name in plain}

    def _gather(self, m: Module, begun, ends_row, last_word, written) -> None:
        """Shift beats into a word; the newest are in its upper part."""
        lanes, width = self.config.lanes, self.config.memory_width
        gathered = Signal(16 * lanes, reset_less=True)
        count = Signal(range(max(2 * lanes // width, 2)))
        full = Signal()
        upper = Signal()  # the second word of int8 of a beat
        another = Signal()  # another word of the same beat follows
        is_rows8 = Signal()
        completes = Signal()
        taken = Signal()
        m.d.comb += [
            is_rows8.eq(self.i.p.space == Space.ROWS8),
            completes.eq(
                count == Mux(is_rows8, max(lanes // width, 1) - 1, 2 * lanes // width - 1)
            ),
            another.eq(is_rows8 & ~upper & ~ends_row if width > lanes else 0),
            # The beat after the last word is of another job.
            self.data.ready.eq(begun & ~(full & (another | last_word | ~self.writes.ready))),
            taken.eq(self.data.valid & self.data.ready),
            self.writes.valid.eq(full),
        ]
        with m.If(taken):
            m.d.sync += [
                gathered.eq(Cat(gathered, self.data.payload)[8 * width :]),
                count.eq(Mux(completes, 0, count + 1)),
                full.eq(completes),
                upper.eq(0),
            ]
        with m.Elif(written):
            m.d.sync += [full.eq(another), upper.eq(another)]

        bytes_8 = gathered[8 * lanes :]
        if width > lanes:
            bytes_8 = Mux(upper, bytes_8, gathered[: 8 * lanes])
        for lane in range(lanes):
            m.d.comb += self.writes.p.data[lane].eq(
                Mux(
                    is_rows8,
                    bytes_8[8 * lane : 8 * lane + 8].as_signed(),
                    gathered[16 * lane : 16 * lane + 16].as_signed(),
                )
            )
