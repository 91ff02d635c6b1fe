"""Weight-stationary systolic array with double-buffered weights, for int8 and probabilities."""

from typing import Any

from amaranth import Module, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import delayed
from celosia.cores.pe import ACTIVATION_BITS, ProcessingElement

__all__ = ["ColumnSums", "StreamedRow", "SystolicArray", "TileColumn"]


class TileColumn(wiring.Signature):
    """One row of the stationary operand, which becomes one column of the array.

    Members
    -------
    valid : Out(1)
        A column is presented.
    column : Out(range(columns))
        Which.
    data : Out(data.ArrayLayout(signed(8), rows))
        Its weights, along the reduction.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "valid": Out(1),
            "column": Out(range(config.columns)),
            "data": Out(data.ArrayLayout(signed(8), config.rows)),
        })


class StreamedRow(wiring.Signature):
    """One row of the streamed operand.

    Members
    -------
    valid : Out(1)
        A row is presented.
    swap : Out(1)
        It is the first of a pass: from it on, the columns loaded last are in use.
    data : Out(data.ArrayLayout(signed(9), rows))
        Its elements, along the reduction: int8, or probabilities from 0 to 255.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "valid": Out(1),
            "swap": Out(1),
            "data": Out(data.ArrayLayout(signed(ACTIVATION_BITS), config.rows)),
        })


class ColumnSums(wiring.Signature):
    """The product of one row with all columns.

    Members
    -------
    valid : Out(1)
        A result is presented.
    data : Out(data.ArrayLayout(signed(psum_width), columns))
        One sum per column.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "valid": Out(1),
            "data": Out(data.ArrayLayout(signed(config.psum_width), config.columns)),
        })


class SystolicArray(wiring.Component):
    """Product of a stream of rows with a tile of weights, in NT form.

    `o.data[c] = sum(i.data[r] * weight[c][r] for r in range(rows))`, exactly, where `weight[c]` is
    what `load` wrote to column `c` for the pass that the row belongs to. A pass begins with the
    row that has `swap` set and lasts until the next one.

    The result comes exactly `latency` = rows + columns + 2 cycles after its row. One row per cycle
    and one column of weights per cycle; nothing ever stalls, and either input may pause anywhere.

    **Loading.** Weights are double-buffered: `load` writes behind the tile in use. With `T` the
    cycle of the row that swapped to the tile in use:

    - column `c` of the next tile may be presented in cycle `T + c` or later; earlier, it would
      still reach the tile that is being swapped in. So the columns in ascending order, one per
      cycle from cycle `T` on, are always in time, and no column is needed before its turn.
    - the row that swaps to it may be presented once every column has been presented in an
      earlier cycle, the last one in the cycle just before.

    Hence passes of `columns` rows or more follow each other without a bubble. A column that is
    not loaded keeps the shadow weights it was last given; a column may be loaded more than once.
    After reset the weights are undefined until loaded and swapped in.

    **Structure.** Row `r` works `r` cycles behind row 0. In it, activations and `swap` move right
    by one column a cycle; weights are broadcast to all columns and taken by the enabled one. Sums
    move down by one row a cycle, no wider than their row needs.

    Parameters
    ----------
    config : MachineConfig
        Rows and columns.

    Members
    -------
    load : In(TileColumn(config))
        Weights of the next tile.
    i : In(StreamedRow(config))
        Rows to multiply.
    o : Out(ColumnSums(config))
        Their products, in order.
    """

    load: Any
    i: Any
    o: Any

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "load": In(TileColumn(config)),
            "i": In(StreamedRow(config)),
            "o": Out(ColumnSums(config)),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row to its result."""
        return self.config.rows - 1 + self.config.columns - 1 + ProcessingElement.latency

    def elaborate(self, platform) -> Module:
        m = Module()
        rows, columns = self.config.rows, self.config.columns

        enables = Signal(columns)
        swap = Signal()
        m.d.comb += [
            enables.eq(self.load.valid << self.load.column),
            swap.eq(self.i.valid & self.i.swap),
        ]

        sums: list[Value] = [Signal(signed(1), name="zero")] * columns
        for row in range(rows):
            if row > 0:
                enables = delayed(m, enables, 1, f"enables_{row}", reset_less=False)
                swap = delayed(m, swap, 1, f"swap_{row}", reset_less=False)
            passed, passed_swap = delayed(m, self.i.data[row], row, f"i_{row}"), swap
            weight = delayed(m, self.load.data[row], row, f"weight_{row}")
            for column in range(columns):
                pe = ProcessingElement(len(sums[column]), _sum_width(row + 1))
                m.submodules[f"pe_{row}_{column}"] = pe
                m.d.comb += [
                    pe.activation.eq(passed),
                    pe.swap.eq(passed_swap),
                    pe.weight.eq(weight),
                    pe.weight_enable.eq(enables[column]),
                    pe.addend.eq(sums[column]),
                ]
                passed, passed_swap, sums[column] = pe.passed, pe.swap_passed, pe.sum

        # The sums of a row leave column by column; hold back the early ones.
        for column, total in enumerate(sums):
            aligned = delayed(m, total, columns - 1 - column, f"sum_{column}")
            m.d.comb += self.o.data[column].eq(aligned)
        valid = delayed(m, self.i.valid, self.latency, "valid", reset_less=False)
        m.d.comb += self.o.valid.eq(valid)

        return m


def _sum_width(terms: int) -> int:
    """Bits of a signed sum of products; the largest in magnitude are those of 255 and -128."""
    return (255 * 128 * terms - 1).bit_length() + 1
