"""Row exponents, found as the rows are written."""

from amaranth import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import bit_length, magnitude, or_tree

__all__ = ["ExponentFile", "ExponentRead", "ScratchpadWord", "ScratchpadWrite", "WrittenWord"]

#: Bits of an exponent, 0 to 8.
EXPONENT_BITS = 4


def ScratchpadWord(config: MachineConfig) -> data.ArrayLayout:  # noqa: N802
    """Shape of one scratchpad word: L elements of int16."""
    return data.ArrayLayout(signed(16), config.lanes)


class ScratchpadWrite(data.StructLayout):
    """One write of a scratchpad word, or of some of its parts of C lanes.

    `mask` has one bit per part; `slot` is the exponent slot of the row, and `first` marks the
    first word of the row that is written, which sets the exponent anew.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "address": range(config.scratchpad_words),
            "data": ScratchpadWord(config),
            "mask": config.lanes // config.columns,
            "slot": range(config.exponent_slots),
            "first": 1,
        })


class WrittenWord(wiring.Signature):
    """The write that the scratchpad carries out in this cycle.

    Members
    -------
    valid : Out(1)
        There is one.
    payload : Out(ScratchpadWrite(config))
        What is written.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({"valid": Out(1), "payload": Out(ScratchpadWrite(config))})


class ExponentRead(wiring.Signature):
    """Read port of the exponents, as seen by the reader.

    Members
    -------
    address : Out(range(exponent_slots))
        Slot to read.
    exponent : In(4)
        Its exponent, one cycle later.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "address": Out(range(config.exponent_slots)),
            "exponent": In(EXPONENT_BITS),
        })


class ExponentFile(wiring.Component):
    """Keeps the exponent of each row, found from the words that are written.

    With A the OR of the one's complement magnitudes of the lanes written, the word's exponent is
    `max(0, bitlen(A) - 7)`; the slot becomes that for the first word of a row, and the larger of
    that and the old one otherwise. One word per cycle, also of the same row. An exponent can be
    read `latency` cycles after its word was written: an address presented in that cycle or later.

    Parameters
    ----------
    config : MachineConfig
        Lanes, columns and slots.
    readers : int
        Read ports.

    Members
    -------
    written : In(WrittenWord(config))
        Words, as they are written.
    reads : In(ExponentRead(config)).array(readers)
        Read ports. A slot that is written in the cycle in which it is read may show anything.
    """

    #: Cycles from a word on `written` to the first address that reads its exponent.
    latency = 3

    written: wiring.PureInterface
    reads: list[wiring.PureInterface]

    def __init__(self, config: MachineConfig, readers: int) -> None:
        self.config = config
        self.readers = readers
        super().__init__({
            "written": In(WrittenWord(config)),
            "reads": In(ExponentRead(config)).array(readers),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        word = self.written.payload
        slots = range(self.config.exponent_slots)
        m.submodules.slots = storage = memory.Memory(
            shape=EXPONENT_BITS, depth=self.config.exponent_slots, init=[]
        )
        write = storage.write_port()
        old = storage.read_port()
        for port in self.reads:
            read = storage.read_port()
            m.d.comb += [read.addr.eq(port.address), port.exponent.eq(read.data)]

        # Stage 1: OR of the magnitudes, while the old exponent is read.
        columns = self.config.columns
        terms = [
            magnitude(element) & word.mask[lane // columns].replicate(15)
            for lane, element in enumerate(word.data)
        ]
        magnitudes = Signal(15, reset_less=True)
        slot_1 = Signal(slots, reset_less=True)
        first_1 = Signal(reset_less=True)
        valid_1 = Signal()
        m.d.comb += old.addr.eq(word.slot)
        m.d.sync += [
            magnitudes.eq(or_tree(terms)),
            slot_1.eq(word.slot),
            first_1.eq(word.first),
            valid_1.eq(self.written.valid),
        ]

        # Stage 2: exponent of the word. The two words before this one may be of the same row; what
        # they write comes too late for the read.
        exponent = Signal(EXPONENT_BITS, reset_less=True)
        stored = Signal(EXPONENT_BITS, reset_less=True)
        slot_2 = Signal(slots, reset_less=True)
        first_2 = Signal(reset_less=True)
        valid_2 = Signal()
        slot_3 = Signal(slots, reset_less=True)
        valid_3 = Signal()
        same_2 = Signal()
        same_3 = Signal()
        m.d.sync += [
            exponent.eq(bit_length(m, Cat(magnitudes[7:]), "exponent")),
            stored.eq(old.data),
            slot_2.eq(slot_1),
            first_2.eq(first_1),
            valid_2.eq(valid_1),
            same_2.eq(valid_2 & (slot_1 == slot_2)),
            same_3.eq(valid_3 & (slot_1 == slot_3)),
        ]

        # Stage 3: the larger one is kept.
        before = Signal(EXPONENT_BITS)
        kept = Signal(EXPONENT_BITS)
        kept_3 = Signal(EXPONENT_BITS, reset_less=True)
        kept_4 = Signal(EXPONENT_BITS, reset_less=True)
        m.d.comb += [
            before.eq(Mux(same_2, kept_3, Mux(same_3, kept_4, stored))),
            kept.eq(Mux(first_2 | (exponent > before), exponent, before)),
            write.addr.eq(slot_2),
            write.data.eq(kept),
            write.en.eq(valid_2),
        ]
        m.d.sync += [
            slot_3.eq(slot_2),
            valid_3.eq(valid_2),
            kept_3.eq(kept),
            kept_4.eq(kept_3),
        ]

        return m
