"""Two blocks of probabilities, between the softmax and the array."""

from amaranth import Module, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.softmax import ProbabilityRow
from celosia.cores.softmax_power import PROBABILITY_BITS
from celosia.rtl.passes import index_bits

__all__ = ["ProbabilityBuffer", "ProbabilityRead"]


class ProbabilityRead(wiring.Signature):
    """Read port, as seen by the reader: address in one cycle, row in the next.

    Members
    -------
    parity : Out(1)
        Which of the two blocks.
    row : Out(log2(accumulator_rows))
        Row of the block.
    data : In(data.ArrayLayout(8, lanes))
        Its probabilities.
    a, b : In(5)
        Its shifts.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "parity": Out(1),
            "row": Out(index_bits(config.accumulator_rows)),
            "data": In(data.ArrayLayout(PROBABILITY_BITS, config.lanes)),
            "a": In(5),
            "b": In(5),
        })


class ProbabilityBuffer(wiring.Component):
    """Keeps probabilities and shifts of two blocks, and counts the complete ones.

    Members
    -------
    write : In(ProbabilityRow(config))
        Rows from the softmax.
    parity : In(1)
        Block that `write` belongs to.
    completes : In(1)
        `write` has the last row of its block.
    read : In(ProbabilityRead(config))
        Read port.
    ready : Out(1)
        A complete block has not been taken.
    taken : In(1)
        One complete block has been read for the last time.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "write": In(ProbabilityRow(config)),
            "parity": In(1),
            "completes": In(1),
            "read": In(ProbabilityRead(config)),
            "ready": Out(1),
            "taken": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        lanes, rows = self.config.lanes, self.config.attention_rows
        probabilities = data.ArrayLayout(PROBABILITY_BITS, lanes)
        shape = data.StructLayout({"data": probabilities, "a": 5, "b": 5})
        m.submodules.storage = storage = memory.Memory(shape=shape, depth=2 * rows, init=[])
        write, read = storage.write_port(), storage.read_port()

        complete = Signal(2)
        completes = Signal()
        m.d.comb += [
            write.en.eq(self.write.valid),
            write.addr.eq(self.parity * rows + self.write.row),
            write.data.data.eq(self.write.data),
            write.data.a.eq(self.write.a),
            write.data.b.eq(self.write.b),
            read.addr.eq(self.read.parity * rows + self.read.row[: index_bits(rows)]),
            self.read.data.eq(read.data.data),
            self.read.a.eq(read.data.a),
            self.read.b.eq(read.data.b),
            completes.eq(self.write.valid & self.completes),
            self.ready.eq(complete != 0),
        ]
        m.d.sync += complete.eq(complete + completes - self.taken)

        return m
