"""Reads the residual rows of a drain ahead of time."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.rtl.passes import Drain, address_bits, index_bits

__all__ = ["ResidualReader"]


class ResidualReader(wiring.Component):
    """Asks the scratchpad for the residual words of a drain, if it has any.

    Members
    -------
    i : In(stream.Signature(Drain(config)))
        Drains, in order; taken with the last request.
    requests : Out(stream.Signature(address))
        Words, one a row.
    """

    i: stream.Interface
    requests: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(Drain(config))),
            "requests": Out(stream.Signature(address_bits(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        drain = self.i.payload
        row = Signal(index_bits(self.config.accumulator_rows))
        address = Signal(address_bits(self.config))
        last = Signal()
        m.d.comb += [
            last.eq(row == drain.m - 1),
            self.requests.valid.eq(self.i.valid & drain.residual),
            self.requests.payload.eq(Mux(row == 0, drain.residual_base, address)),
            self.i.ready.eq(~drain.residual | (self.requests.ready & last)),
        ]
        with m.If(self.requests.valid & self.requests.ready):
            m.d.sync += [
                row.eq(Mux(last, 0, row + 1)),
                address.eq(self.requests.payload + drain.residual_stride),
            ]
        return m
