"""Sends the three sides of a step to their queues."""

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.rtl.passes import Drain, RowPass, Step, TilePass

__all__ = ["StepFork"]


class StepFork(wiring.Component):
    """Splits steps; one leaves its register when each side that it has has been taken.

    Members
    -------
    i : In(stream.Signature(Step(config)))
        Steps.
    tiles, rows, drains, residuals : Out(stream.Signature(...))
        Its sides; a drain goes both to its preparer and to the reader of its residual.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(Step(config))),
            "tiles": Out(stream.Signature(TilePass(config))),
            "rows": Out(stream.Signature(RowPass(config))),
            "drains": Out(stream.Signature(Drain(config))),
            "residuals": Out(stream.Signature(Drain(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        step = Signal(Step(self.config), reset_less=True)
        valid = Signal()
        passes = ~step.drain_only if self.config.products > 1 else 1
        sides = [
            (self.tiles, step.tile, passes),
            (self.rows, step.rows, passes),
            (self.drains, step.drain, step.drains),
            (self.residuals, step.drain, step.drains & step.drain.residual),
        ]
        sent = Signal(len(sides))
        done = Signal(len(sides))
        for index, (side, payload, wanted) in enumerate(sides):
            m.d.comb += [
                side.payload.eq(payload),
                side.valid.eq(valid & wanted & ~sent[index]),
                done[index].eq(sent[index] | ~Cat(wanted).any() | side.ready),
            ]
        m.d.comb += self.i.ready.eq(~valid | done.all())
        with m.If(self.i.ready):
            m.d.sync += [step.eq(self.i.payload), valid.eq(self.i.valid)]
        with m.If(valid):
            m.d.sync += sent.eq(done)
            with m.If(done.all()):
                m.d.sync += sent.eq(0)
        return m
