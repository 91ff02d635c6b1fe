"""Addresses of the words of rows in the scratchpad."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig

__all__ = ["RowAddress", "RowWalker"]


class RowAddress(data.StructLayout):
    """Address of a word; `first` and `last` mark the ends of its row, `final` the last row."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "address": range(config.scratchpad_words),
            "first": 1,
            "last": 1,
            "final": 1,
        })


class RowWalker(wiring.Component):
    """Addresses of the words of rows, one per cycle, from the cycle after `start` on.

    Parameters
    ----------
    config : MachineConfig
        Depth of the scratchpad.

    Members
    -------
    start : In(1)
        Begin with the first row; only when the walk before has ended.
    base, stride, rows, words : In(16)
        First word, words from row to row, rows, words of a row; constant from `start` on. There
        is at least one row and one word.
    o : Out(stream.Signature(RowAddress(config)))
        Addresses, row by row.
    """

    start: Signal
    base: Signal
    stride: Signal
    rows: Signal
    words: Signal
    o: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "start": In(1),
            "base": In(16),
            "stride": In(16),
            "rows": In(16),
            "words": In(16),
            "o": Out(stream.Signature(RowAddress(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        address = self.o.p.address
        row = Signal.like(address, reset_less=True)
        next_row = Signal.like(address)
        rows_left = Signal(16, reset_less=True)
        words_left = Signal(16, reset_less=True)
        m.d.comb += [
            next_row.eq(row + self.stride),
            self.o.p.last.eq(words_left == 1),
            self.o.p.final.eq(rows_left == 1),
        ]
        with m.If(self.start):
            m.d.sync += [
                row.eq(self.base),
                address.eq(self.base),
                rows_left.eq(self.rows),
                words_left.eq(self.words),
                self.o.p.first.eq(1),
                self.o.valid.eq(1),
            ]
        with m.Elif(self.o.ready & self.o.valid):
            m.d.sync += [
                address.eq(address + 1),
                words_left.eq(words_left - 1),
                self.o.p.first.eq(self.o.p.last),
            ]
            with m.If(self.o.p.last):
                m.d.sync += [
                    row.eq(next_row),
                    address.eq(next_row),
                    rows_left.eq(rows_left - 1),
                    words_left.eq(self.words),
                    self.o.valid.eq(~self.o.p.final),
                ]

        return m
