"""From bursts to runs: the stretches of a burst that lie in one row of an SDRAM."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.sdram_part import WORD_BYTES, SDRAMSettings

__all__ = ["Request", "SDRAMRun", "SDRAMRuns"]

#: Bursts of one kind in a row while the other kind waits: turning the bus around costs cycles.
TURNS = 4


class Request(data.Struct):
    """A burst that is asked for: byte address, beats less one, ID."""

    address: 32
    more: 8
    id: 1


class SDRAMRun(data.StructLayout):
    """Beats of a burst in one row: `more` beats after the one at `column` (counted in beats).

    `last` is the last run of its burst. `outside` beats lie beyond the end of the memory.
    """

    def __init__(self, config: MachineConfig, settings: SDRAMSettings) -> None:
        columns = settings.column_bits - exact_log2(config.memory_width // WORD_BYTES)
        super().__init__({
            "column": columns,
            "more": columns,
            "bank": 2,
            "row": settings.row_bits,
            "id": 1,
            "write": 1,
            "host": 1,
            "last": 1,
            "outside": 1,
        })


class SDRAMRuns(wiring.Component):
    """Chooses the next burst, and splits it into runs.

    The host goes first; it has one access under way at a time. Bursts of reads and of writes take
    turns, `TURNS` of a kind if both wait. Consecutive rows lie in different banks, so that the
    next one can be opened while one is read. One run a cycle, and one cycle between bursts.

    Parameters
    ----------
    config : MachineConfig
        Memory width.
    settings : SDRAMSettings
        Geometry.

    Members
    -------
    read, write, host_read, host_write : In(stream.Signature(Request))
        Bursts.
    o : Out(stream.Signature(SDRAMRun(config, settings)))
        Their runs.
    """

    read: stream.Interface
    write: stream.Interface
    host_read: stream.Interface
    host_write: stream.Interface
    o: stream.Interface

    def __init__(self, config: MachineConfig, settings: SDRAMSettings) -> None:
        self.config = config
        self.settings = settings
        names = ("read", "write", "host_read", "host_write")
        super().__init__(
            {name: In(stream.Signature(Request)) for name in names}
            | {"o": Out(stream.Signature(SDRAMRun(config, settings)))}
        )

    def elaborate(self, platform) -> Module:
        m = Module()
        shift = exact_log2(self.config.memory_width)
        run = self.o.p
        columns = len(run.column)

        active = Signal()
        position = Signal(32 - shift, reset_less=True)  # of the next beat, counted from address 0
        more = Signal(max(8, columns), reset_less=True)
        to_end = Signal(columns)  # beats after the next one in its row
        m.d.comb += [
            to_end.eq(~position[:columns]),
            Cat(run.column, run.bank, run.row).eq(position),
            run.outside.eq(position[columns + 2 + len(run.row) :].any()),
            run.last.eq(more <= to_end),
            run.more.eq(Mux(run.last, more, to_end)),
            self.o.valid.eq(active),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [
                position.eq(Cat(Const(0, columns), position[columns:] + 1)),
                more.eq(more - to_end - 1),
                active.eq(~run.last),
            ]

        writing = Signal()  # the kind of the last burst
        turns = Signal(range(TURNS))
        chosen = Signal(Request)
        write_first = Signal()
        m.d.comb += write_first.eq(writing ^ (turns == 0))

        def take(port: stream.Interface, *, write: int, host: int) -> None:
            m.d.comb += [chosen.eq(port.payload), port.ready.eq(~active)]
            with m.If(~active):
                m.d.sync += [run.write.eq(write), run.host.eq(host), active.eq(1)]
                if not host:
                    same = writing == write
                    m.d.sync += [
                        writing.eq(write),
                        turns.eq(Mux(same & (turns != 0), turns - 1, TURNS - 1)),
                    ]

        with m.If(self.host_write.valid):
            take(self.host_write, write=1, host=1)
        with m.Elif(self.host_read.valid):
            take(self.host_read, write=0, host=1)
        with m.Elif(self.write.valid & (write_first | ~self.read.valid)):
            take(self.write, write=1, host=0)
        with m.Elif(self.read.valid):
            take(self.read, write=0, host=0)
        with m.If(~active):
            m.d.sync += [
                position.eq(chosen.address[shift:]),
                more.eq(chosen.more),
                run.id.eq(chosen.id),
            ]
        return m
