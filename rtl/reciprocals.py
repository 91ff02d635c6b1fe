"""Reciprocals of the softmax denominators, until the attention output has been scaled."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.softmax import RowReciprocal
from celosia.rtl.passes import index_bits

__all__ = ["ReciprocalBuffer", "ReciprocalRead"]


class ReciprocalRead(wiring.Signature):
    """Read port, as seen by the reader: `row` in one cycle, `rcp` and `shift` in the next.

    `count` says how many rows have come since `taken`.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "row": Out(index_bits(config.accumulator_rows)),
            "rcp": In(15),
            "shift": In(6),
            "count": In(range(config.attention_rows + 1)),
            "taken": Out(1),
        })


class ReciprocalBuffer(wiring.Component):
    """Keeps one reciprocal a row and counts those that have come.

    Members
    -------
    write : In(RowReciprocal(config))
        From the softmax.
    read : In(ReciprocalRead(config))
        Read port.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({"write": In(RowReciprocal(config)), "read": In(ReciprocalRead(config))})

    def elaborate(self, platform) -> Module:
        m = Module()
        rows = self.config.attention_rows
        shape = data.StructLayout({"rcp": 15, "shift": 6})
        m.submodules.storage = storage = memory.Memory(shape=shape, depth=rows, init=[])
        write, read = storage.write_port(), storage.read_port()

        count = Signal(range(rows + 1))
        m.d.comb += [
            write.en.eq(self.write.valid),
            write.addr.eq(self.write.row),
            write.data.rcp.eq(self.write.rcp),
            write.data.shift.eq(self.write.shift),
            read.addr.eq(self.read.row),
            self.read.rcp.eq(read.data.rcp),
            self.read.shift.eq(read.data.shift),
            self.read.count.eq(count),
        ]
        m.d.sync += count.eq(Mux(self.read.taken, 0, count + self.write.valid))

        return m
