"""Counts through rows that lie in groups, and finds the words that they lie in."""

from amaranth import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.rtl.passes import address_bits, index_bits

__all__ = ["GroupedRows"]


class GroupedRows(wiring.Component):
    """Walks the rows of an operand, group after group, like the queries of heads that share keys.

    Row i of group g lies at `base + g·group + i·stride`. All outputs are those of the row that is
    next; the first one is there without delay.

    Members
    -------
    m : In(range(accumulator_rows + 1))
        Rows of all groups.
    group_last : In(range(accumulator_rows))
        Index of the last row of a group.
    base, stride, group : In(address)
        Word of the first row; words from row to row, and from group to group.
    step : In(1)
        Go on to the next row, after the last one to the first of another operand.
    row, query : Out(range(accumulator_rows))
        Index of the row among all of them, and within its group.
    address : Out(address)
        Its word.
    first, last : Out(1)
        It is the first, the last one of all.
    first_group : Out(1)
        It lies in the first group.
    """

    def __init__(self, config: MachineConfig) -> None:
        index, address = index_bits(config.accumulator_rows), address_bits(config)
        super().__init__({
            "m": In(index + 1),
            "group_last": In(index),
            "base": In(address),
            "stride": In(address),
            "group": In(address),
            "step": In(1),
            "row": Out(index),
            "query": Out(index),
            "address": Out(address),
            "first": Out(1),
            "last": Out(1),
            "first_group": Out(1),
        })

    def follow(self, m: Module, operand: data.View) -> None:
        """Take m and place of the operand from a record's fields of the same names."""
        for name in ("m", "group_last", "base", "stride", "group"):
            m.d.comb += getattr(self, name).eq(operand[name])

    def elaborate(self, platform) -> Module:
        m = Module()
        number = Signal.like(self.m, init=1)  # of the row, from 1
        later = Signal()  # the row does not lie in the first group
        address = Signal.like(self.address)  # of the row; of no use at the first one
        origin = Signal.like(self.address)  # of its group's first row; of use in later groups
        group_ends = Signal()
        following = Signal.like(self.address)
        m.d.comb += [
            self.first.eq(self.row == 0),
            self.last.eq(number == self.m),
            self.first_group.eq(~later),
            group_ends.eq(self.query == self.group_last),
            self.address.eq(Mux(self.first, self.base, address)),
            following.eq(
                Mux(group_ends, Mux(later, origin, self.base), self.address)
                + Mux(group_ends, self.group, self.stride)
            ),
        ]
        with m.If(self.step):
            m.d.sync += [
                self.row.eq(Mux(self.last, 0, self.row + 1)),
                number.eq(Mux(self.last, 1, number + 1)),
                self.query.eq(Mux(self.last | group_ends, 0, self.query + 1)),
                later.eq((later | group_ends) & ~self.last),
                address.eq(following),
            ]
            with m.If(group_ends):
                m.d.sync += origin.eq(following)
        return m
