"""Which lanes of a drained row count."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.rtl.passes import Drain, index_bits, limit_bits, part_bits

__all__ = ["LaneMask"]


class LaneMask(wiring.Component):
    """Finds the lanes of one part of a row that exist and that the row sees.

    Row i of a group of scores sees lanes up to `last_lane + i` if `causal`, lanes from
    `first_lane + i` on if `windowed`. `latency` cycles; one part per cycle.

    Members
    -------
    drain : In(Drain(config))
        The row's drain.
    row : In(range(accumulator_rows))
        Which row of its group.
    part : In(range(lanes // columns))
        Which part of it.
    mask : Out(columns)
        Lanes of the part.
    """

    latency = 2

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "drain": In(Drain(config)),
            "row": In(index_bits(config.accumulator_rows)),
            "part": In(part_bits(config.lanes // config.columns)),
            "mask": Out(config.columns),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        columns = self.config.columns
        drain = self.drain

        # Stage 1: limits as lanes of this part, the upper ones first of those that do not count.
        width = max(limit_bits(self.config), len(self.row) + 1) + 2
        end, stop, start = (
            Signal(signed(width), name=name, reset_less=True) for name in ("end", "stop", "start")
        )
        row = Signal(signed(width))
        m.d.comb += row.eq(self.row - (self.part << exact_log2(columns)))
        m.d.sync += [
            end.eq(drain.columns - (self.part << exact_log2(columns))),
            stop.eq(Mux(drain.causal, drain.last_lane + 1 + row, columns)),
            start.eq(Mux(drain.windowed, drain.first_lane + row, 0)),
        ]

        # Stage 2: the same from 0 to C; a comparator a lane is then a few gates.
        def clipped(limit: Signal) -> Signal:
            lane = Signal(range(columns + 1), name=f"{limit.name}_lane", reset_less=True)
            m.d.sync += lane.eq(Mux(limit < 0, 0, Mux(limit > columns, columns, limit)))
            return lane

        end_lane, stop_lane, start_lane = clipped(end), clipped(stop), clipped(start)
        m.d.comb += self.mask.eq(
            Cat(
                (lane < end_lane) & (lane < stop_lane) & (lane >= start_lane)
                for lane in range(columns)
            )
        )
        return m
