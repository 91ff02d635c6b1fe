"""Queues of the sides of steps."""

from amaranth import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.rtl.passes import Drain, RowPass, Step, TilePass
from celosia.rtl.stream import StreamFIFO

__all__ = ["StepQueues"]

#: Steps that wait for a unit.
DEPTH = 4
#: Deep enough for all tiles of an attention's output, while the array adds to their bank.
DRAINS = 16


class StepQueues(wiring.Component):
    """Splits steps into the queues of their sides.

    A step is taken when each queue has room for it, whether it has that side or not; that is
    known from registers alone, as long paths of the walkers begin here. The sides are offered two
    cycles after.

    Members
    -------
    i : In(stream.Signature(Step(config)))
        Steps.
    tiles, rows, drains, residuals : Out(stream.Signature(...))
        Their sides; a drain goes both to its preparer and to the reader of its residual.
    hungry : Out(1)
        The last pass of rows is about to be taken: the array will soon have nothing to do.
    """

    i: stream.Interface
    tiles: stream.Interface
    rows: stream.Interface
    drains: stream.Interface
    residuals: stream.Interface
    hungry: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(Step(config))),
            "tiles": Out(stream.Signature(TilePass(config))),
            "rows": Out(stream.Signature(RowPass(config))),
            "drains": Out(stream.Signature(Drain(config))),
            "residuals": Out(stream.Signature(Drain(config))),
            "hungry": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        m.submodules.tiles = tiles = StreamFIFO(TilePass(config), DEPTH)
        m.submodules.rows = rows = StreamFIFO(RowPass(config), DEPTH)
        m.submodules.drains = drains = StreamFIFO(Drain(config), DRAINS)
        m.submodules.residuals = residuals = StreamFIFO(Drain(config), DEPTH)

        step = Signal(Step(config), reset_less=True)
        valid = Signal()
        m.d.sync += [step.eq(self.i.payload), valid.eq(self.i.valid & self.i.ready)]

        passes = ~step.drain_only if config.products > 1 else 1
        rooms = []
        for queue, payload, wanted, side in (
            (tiles, step.tile, passes, self.tiles),
            (rows, step.rows, passes, self.rows),
            (drains, step.drain, step.drains, self.drains),
            (residuals, step.drain, step.drains & step.drain.residual, self.residuals),
        ):
            m.d.comb += [queue.i.payload.eq(payload), queue.i.valid.eq(valid & wanted)]
            # With what enters the queue now, and with what may enter the register.
            rooms.append(queue.level + queue.i.valid + self.i.ready < queue.depth)
            connect(m, queue.o, flipped(side))
        m.d.sync += self.i.ready.eq(Cat(rooms).all())

        # With one pass left, the tile of the next is loaded in time. One may be on its way.
        m.d.comb += self.hungry.eq(rows.level + rows.i.valid <= 1)
        return m
