"""Parameters of the channels: multiplier, shift and bias, as the load unit writes them."""

from amaranth import Module, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig

__all__ = ["Parameter", "ParameterBuffer", "ParameterRead", "ParameterWrite"]


class Parameter(data.Struct):
    """Parameters of one channel, as in memory."""

    multiplier: 15
    shift: 6
    bias: signed(16)


class ParameterWrite(wiring.Signature):
    """One entry to write: `valid`, `address`, `data`."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "valid": Out(1),
            "address": Out(range(config.parameter_entries)),
            "data": Out(Parameter),
        })


class ParameterRead(wiring.Signature):
    """Read port, as seen by the reader: `address` in one cycle, `data` in the next."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "address": Out(range(config.parameter_entries)),
            "data": In(Parameter),
        })


class ParameterBuffer(wiring.Component):
    """Memory of parameters with one write port and read ports of one cycle.

    Members
    -------
    write : In(ParameterWrite(config))
        Entries from the load unit.
    reads : In(ParameterRead(config)).array(readers)
        Read ports.
    """

    def __init__(self, config: MachineConfig, readers: int) -> None:
        self.config = config
        super().__init__({
            "write": In(ParameterWrite(config)),
            "reads": In(ParameterRead(config)).array(readers),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.storage = storage = memory.Memory(
            shape=Parameter, depth=self.config.parameter_entries, init=[]
        )
        write = storage.write_port()
        m.d.comb += [
            write.en.eq(self.write.valid),
            write.addr.eq(self.write.address),
            write.data.eq(self.write.data),
        ]
        for port in self.reads:
            read = storage.read_port()
            m.d.comb += [read.addr.eq(port.address), port.data.eq(read.data)]
        return m
