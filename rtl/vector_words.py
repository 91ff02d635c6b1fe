"""Words that the vector unit has read, on their way to where they are computed with."""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.row_functions import Element
from celosia.rtl.exponents import ScratchpadWord
from celosia.rtl.vector_requests import VectorReader

__all__ = ["VectorWords"]


class VectorWords(wiring.Component):
    """Brings the words that were read to the pass of RowFunctions that they are for.

    Words of elements and of gamma are kept until that of beta comes, with which they go on.

    Parameters
    ----------
    config : MachineConfig
        Lanes of a word.

    Members
    -------
    words : In(stream.Signature(ScratchpadWord(config)))
        Words, in the order of the requests.
    readers : In(stream.Signature(VectorReader))
        What each word is for.
    rows : Out(stream.Signature(ScratchpadWord(config)))
        Words for the sums.
    elements : Out(stream.Signature(data.ArrayLayout(Element, L)))
        Words for the results.
    """

    words: stream.Interface
    readers: stream.Interface
    rows: stream.Interface
    elements: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        word = ScratchpadWord(config)
        super().__init__({
            "words": In(stream.Signature(word)),
            "readers": In(stream.Signature(VectorReader)),
            "rows": Out(stream.Signature(word)),
            "elements": Out(stream.Signature(data.ArrayLayout(Element, config.lanes))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        x = Signal(ScratchpadWord(self.config), reset_less=True)
        gamma = Signal(ScratchpadWord(self.config), reset_less=True)
        word = self.words.payload
        is_for = {
            reader: self.words.valid & self.readers.valid & (self.readers.payload == reader)
            for reader in VectorReader
        }
        taken = Signal()
        m.d.comb += [
            self.rows.valid.eq(is_for[VectorReader.SUMS]),
            self.rows.payload.eq(word),
            self.elements.valid.eq(is_for[VectorReader.BETA]),
            taken.eq(
                is_for[VectorReader.ELEMENTS]
                | is_for[VectorReader.GAMMA]
                | (self.rows.valid & self.rows.ready)
                | (self.elements.valid & self.elements.ready)
            ),
            self.words.ready.eq(taken),
            self.readers.ready.eq(taken),
        ]
        for lane, element in enumerate(self.elements.payload):
            m.d.comb += [
                element.x.eq(x[lane]),
                element.gamma.eq(gamma[lane]),
                element.beta.eq(word[lane]),
            ]
        with m.If(is_for[VectorReader.ELEMENTS]):
            m.d.sync += x.eq(word)
        with m.If(is_for[VectorReader.GAMMA]):
            m.d.sync += gamma.eq(word)

        return m
