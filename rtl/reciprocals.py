"""Reciprocals of the softmax denominators, until the attention output has been scaled."""

from amaranth import Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.softmax import RowReciprocal
from celosia.rtl.passes import index_bits

__all__ = ["ReciprocalBuffer", "ReciprocalRead"]


class ReciprocalRead(wiring.Signature):
    """Read port, as seen by the reader: `row` in one cycle, `rcp` and `shift` in the next.

    Members
    -------
    row : Out(log2(accumulator_rows))
        Row of the oldest attention.
    rcp, shift : In(15), In(6)
        Its reciprocal.
    count : In(range(2 * attention_rows + 1))
        Rows that have come and not been taken.
    taken : Out(range(attention_rows + 1))
        That many rows have been read for the last time.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "row": Out(index_bits(config.accumulator_rows)),
            "rcp": In(15),
            "shift": In(6),
            "count": In(range(2 * config.attention_rows + 1)),
            "taken": Out(range(config.attention_rows + 1)),
        })


class ReciprocalBuffer(wiring.Component):
    """Queue of the reciprocals of two attentions, one a row: one is read, one may come.

    Members
    -------
    write : In(RowReciprocal(config))
        From the softmax, row by row.
    read : In(ReciprocalRead(config))
        Read port.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({"write": In(RowReciprocal(config)), "read": In(ReciprocalRead(config))})

    def elaborate(self, platform) -> Module:
        m = Module()
        depth = 2 * self.config.attention_rows
        shape = data.StructLayout({"rcp": 15, "shift": 6})
        m.submodules.storage = storage = memory.Memory(shape=shape, depth=depth, init=[])
        write, read = storage.write_port(), storage.read_port()

        oldest = Signal(range(depth))
        count = Signal(range(depth + 1))
        m.d.comb += [
            write.en.eq(self.write.valid),
            write.addr.eq(oldest + count),
            write.data.rcp.eq(self.write.rcp),
            write.data.shift.eq(self.write.shift),
            read.addr.eq(oldest + self.read.row),
            self.read.rcp.eq(read.data.rcp),
            self.read.shift.eq(read.data.shift),
            self.read.count.eq(count),
        ]
        m.d.sync += [
            oldest.eq(oldest + self.read.taken),
            count.eq(count + self.write.valid - self.read.taken),
        ]

        return m
