"""Weight-stationary systolic array with double-buffered weights, of any kind of element."""

from itertools import chain
from typing import Any

from amaranth import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import delayed
from celosia.cores.pe import ACTIVATION_BITS
from celosia.cores.pe_kinds import element_kind, mode_in_use, sum_width
from celosia.cores.pe_sparse import Selector

__all__ = ["ColumnSums", "StreamedRow", "SystolicArray", "TileColumn"]


class TileColumn(wiring.Signature):
    """One row of the stationary operand, which becomes one column of the array.

    Members
    -------
    valid : Out(1)
        A column is presented.
    column : Out(range(columns))
        Which.
    data : Out(data.ArrayLayout(weight_shape, rows))
        Its weights, along the reduction; int8 in an array of multipliers.
    mode : Out(range(modes))
        How to read them; the same for all columns of a tile. Only with kinds that have modes.
    plane_valid : Out(1)
        A plane of indices is presented. Like the next two only if the array selects activations.
    plane : Out(range(index_planes))
        Which bit of the indices.
    block : Out(range(columns / 8))
        For which eight columns; the byte of a row holds their bits, the first column lowest.
    """

    def __init__(self, config: MachineConfig, kind: str = "multiply") -> None:
        element = element_kind(kind)
        more = {"mode": Out(range(element.modes))} if element.modes > 1 else {}
        if config.sparsity > 1:
            more |= {
                "plane_valid": Out(1),
                "plane": Out(range(config.index_planes)),
                "block": Out(range(max(2, config.columns // 8))),
            }
        super().__init__({
            "valid": Out(1),
            "column": Out(range(config.columns)),
            "data": Out(data.ArrayLayout(element.weight_shape, config.rows)),
            **more,
        })


class StreamedRow(wiring.Signature):
    """One row of the streamed operand.

    Members
    -------
    valid : Out(1)
        A row is presented.
    swap : Out(1)
        It is the first of a pass: from it on, the columns loaded last are in use.
    data : Out(data.ArrayLayout(signed(9), row_lanes))
        Its elements, along the reduction: int8, or probabilities from 0 to 255. Where the array
        selects, rows M/2·g to M/2·g + M/2 - 1 of it share elements M·g to M·g + M - 1.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "valid": Out(1),
            "swap": Out(1),
            "data": Out(data.ArrayLayout(signed(ACTIVATION_BITS), config.row_lanes)),
        })


class ColumnSums(wiring.Signature):
    """The product of one row with all columns.

    Members
    -------
    valid : Out(1)
        A result is presented.
    data : Out(data.ArrayLayout(signed(width), columns * products))
        One sum per column, or several where an element forms several products: those of a column
        lie side by side. The width holds every sum.
    """

    def __init__(self, config: MachineConfig, kind: str = "multiply") -> None:
        products = element_kind(kind).products
        width = max(sum_width(product, config.rows) for product in products)
        super().__init__({
            "valid": Out(1),
            "data": Out(data.ArrayLayout(signed(width), config.columns * len(products))),
        })


class SystolicArray(wiring.Component):
    """Product of a stream of rows with a tile of weights, in NT form.

    `o.data[c] = sum(i.data[r] * weight[c][r] for r in range(rows))`, exactly, where `weight[c]` is
    what `load` wrote to column `c` for the pass that the row belongs to. A pass begins with the
    row that has `swap` set and lasts until the next one.

    Of another kind, an element may read its weight in several ways and form several products
    (`celosia.cores.pe_kinds`); `celosia.golden.pe` says which.

    With `sparsity` M, an element multiplies one of the M activations that its group of M/2 rows
    shares, by an index. A weight that is loaded sets the index to the element's own place among
    the M/2; planes of indices, loaded behind the tile's columns, change it.

    The result comes exactly `latency` cycles after its row, rows + columns + 2 where an element
    multiplies, one more where it selects. One row per cycle and one column of weights per cycle;
    nothing ever stalls, and either input may pause anywhere.

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
    kind : str
        Kind of its elements, one of `celosia.cores.pe_kinds.KINDS`.

    Members
    -------
    load : In(TileColumn(config, kind))
        Weights of the next tile.
    i : In(StreamedRow(config))
        Rows to multiply.
    o : Out(ColumnSums(config, kind))
        Their products, in order.
    """

    load: Any
    i: Any
    o: Any

    def __init__(self, config: MachineConfig, kind: str = "multiply") -> None:
        self.config = config
        self.element = element_kind(kind)
        super().__init__({
            "load": In(TileColumn(config, kind)),
            "i": In(StreamedRow(config)),
            "o": Out(ColumnSums(config, kind)),
        })

    @property
    def latency(self) -> int:
        """Cycles from a row to its result."""
        foot = 0 if self.element.foot is None else self.element.foot.latency
        return self._passage + self.config.columns - 1 + foot

    @property
    def _passage(self) -> int:
        """Cycles from a row to the sums of the first column."""
        return (self.config.sparsity > 1) + self.config.rows - 1 + self.element.latency

    def elaborate(self, platform) -> Module:
        m = Module()
        rows, columns = self.config.rows, self.config.columns

        enables = Signal(columns)
        swap = Signal()
        m.d.comb += [
            enables.eq(self.load.valid << self.load.column),
            swap.eq(self.i.valid & self.i.swap),
        ]

        element = self.element
        partials = element.products if element.foot is None else element.partials
        mode = self.load.mode if element.modes > 1 else None
        choice = _Choice(m, self.config, self.load, self.i) if self.config.sparsity > 1 else None
        zero = Signal(signed(1), name="zero")
        sums: list[list[Value]] = [[zero] * len(partials) for _ in range(columns)]
        for row in range(rows):
            if row > 0:
                enables = delayed(m, enables, 1, f"enables_{row}", reset_less=False)
                # As in the elements, without a reset: those of a diagonal then become one register,
                # and the multipliers of a block have no more enables than it can have.
                swap = delayed(m, swap, 1, f"swap_{row}")
                mode = None if mode is None else delayed(m, mode, 1, f"mode_{row}")
            enabled, passed_swap = enables, swap
            loaded = delayed(m, self.load.data[row], row, f"weight_{row}")
            weight = _named(m, loaded, element.recode(loaded, mode), f"code_{row}")
            if choice is None:
                streamed = delayed(m, self.i.data[row], row, f"i_{row}")
                passed = _named(m, streamed, element.prepare(streamed), f"prepared_{row}")
            else:
                choice.begin_row(m, row, loaded, enables, swap)
                passed = zero
                # An element works a cycle behind its selector.
                weight = delayed(m, weight, 1, f"late_code_{row}")
                enabled = delayed(m, enables, 1, f"late_enables_{row}", reset_less=False)
                passed_swap = delayed(m, swap, 1, f"late_swap_{row}")
            widths = [sum_width(partial, row + 1) for partial in partials]
            for column in range(columns):
                pe = element(*map(len, sums[column]), *widths)
                m.submodules[f"pe_{row}_{column}"] = pe
                if choice is not None:
                    passed = choice.select(m, column, passed_swap)
                m.d.comb += [
                    pe.activation.eq(passed),
                    pe.swap.eq(passed_swap),
                    pe.weight.eq(weight),
                    pe.weight_enable.eq(enabled[column]),
                    *(a.eq(b) for a, b in zip(pe.addends, sums[column], strict=True)),
                ]
                passed, passed_swap, sums[column] = pe.passed, pe.swap_passed, list(pe.sums)

        if element.foot is not None:
            sums = self._at_the_feet(m, sums)
        # The sums of a row leave column by column; hold back the early ones.
        for index, total in enumerate(chain.from_iterable(sums)):
            column = index // len(element.products)
            aligned = delayed(m, total, columns - 1 - column, f"sum_{index}")
            m.d.comb += self.o.data[index].eq(aligned)
        valid = delayed(m, self.i.valid, self.latency, "valid", reset_less=False)
        m.d.comb += self.o.valid.eq(valid)

        return m

    def _at_the_feet(self, m: Module, sums: list[list[Value]]) -> list[list[Value]]:
        """Return the results that the feet of the columns make of their sums."""
        element, rows = self.element, self.config.rows
        mode = mode_in_use(m, self.load.valid, self.load.mode, self.i.valid & self.i.swap)
        mode = delayed(m, mode, self._passage, "mode_at_foot")
        widths = [sum_width(term, rows) for term in (*element.partials, *element.products)]
        results: list[list[Value]] = []
        for column, totals in enumerate(sums):
            if column > 0:
                mode = delayed(m, mode, 1, f"mode_at_foot_{column}")
            m.submodules[f"foot_{column}"] = foot = element.foot(*widths)
            ports = zip(foot.sums, totals, strict=True)
            m.d.comb += [foot.mode.eq(mode), *(port.eq(total) for port, total in ports)]
            results.append(list(foot.results))
        return results


def _named(m: Module, before: Value, after: Value, name: str) -> Value:
    """Return `after` as a signal that all columns share, if it is not what it was made of."""
    if after is before:
        return before
    shared = Signal(after.shape(), name=name)
    m.d.comb += shared.eq(after)
    return shared


class _Choice:
    """Wires and selectors of an array that takes half of the elements of a row.

    A row of elements works one cycle behind the one above, and one column behind the next: so the
    rows of a group share the wires of its activations, each one register further on.
    """

    row: int
    byte: Value
    loads: Value
    swap: Value

    def __init__(self, m: Module, config: MachineConfig, load: Any, i: Any) -> None:
        self.size, self.planes = config.sparsity, config.index_planes
        self.rows = self.size // 2  # that share a group
        self.taps = [[Value.cast(lane)] for lane in i.data]
        blocks = max(1, config.columns // 8)
        self.enables = Signal(blocks * self.planes, name="plane_enables")
        bit = (load.block * self.planes if blocks > 1 else 0) + load.plane
        m.d.comb += self.enables.eq(load.plane_valid << bit)

    def begin_row(self, m: Module, row: int, byte: Value, loads: Value, swap: Value) -> None:
        """Take what is loaded to a row, to which columns, and whether it comes into use."""
        if row > 0:
            name = f"plane_enables_{row}"
            self.enables = delayed(m, self.enables, 1, name, reset_less=False)
        self.row, self.byte, self.loads, self.swap = row, Value.cast(byte), loads, swap

    def select(self, m: Module, column: int, late_swap: Value) -> Value:
        """Return the activation of the next element; without planes it is that of a dense row.

        The swap of the element is that of the next selector.
        """
        group, place = divmod(self.row, self.rows)
        lanes = range(group * self.size, (group + 1) * self.size)
        m.submodules[f"selector_{self.row}_{column}"] = selector = Selector(self.size)
        first = column // 8 * self.planes
        loads, bit = self.loads[column], self.byte[column % 8]
        m.d.comb += [
            selector.swap.eq(self.swap),
            selector.plane_enable.eq(Mux(loads, -1, self.enables[first : first + self.planes])),
            selector.plane_bits.eq(Mux(loads, place, bit.replicate(self.planes))),
            *(
                selector.wires[n].eq(self._tap(m, lane, self.row + column + 1))
                for n, lane in enumerate(lanes)
            ),
        ]
        self.swap = late_swap
        return selector.activation

    def _tap(self, m: Module, lane: int, cycles: int) -> Value:
        taps = self.taps[lane]
        while len(taps) <= cycles:
            taps.append(delayed(m, taps[-1], 1, f"lane_{lane}_{len(taps)}"))
        return taps[cycles]
