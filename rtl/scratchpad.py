"""Scratchpad: banked memory of rows of int16 with many readers and one write port."""

from amaranth import Array, Cat, Const, Module, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.rtl.exponents import ExponentFile, ScratchpadWord, ScratchpadWrite, WrittenWord
from celosia.rtl.stream import SkidBuffer, StreamFIFO

__all__ = ["Scratchpad"]


class Scratchpad(wiring.Component):
    """Words of L int16 in banks that are interleaved over the low bits of the address.

    Each bank serves one reader per cycle, the lowest index first; a reader without conflicts has
    one word per cycle, 4 cycles after the request was taken. A bank is read only when there is
    room for the word, so a reader that does not take its words blocks no other. Requests are
    taken into a buffer of two first: no reader waits for what others do in the same cycle.

    One word is written per cycle: that of the first writer with one, so writer 0 is never
    stalled. A word can be requested, and its exponent addressed, `write_latency` cycles after
    the write was taken; in the cycles before, reading it may give anything.

    Parameters
    ----------
    config : MachineConfig
        Lanes, columns, depth and banks.
    readers, writers : int
        Ports.

    Members
    -------
    writes : In(stream.Signature(ScratchpadWrite(config))).array(writers)
        Words to write.
    written : Out(WrittenWord(config))
        What is written, for the exponents.
    requests : In(stream.Signature(range(scratchpad_words))).array(readers)
        Addresses to read.
    words : Out(stream.Signature(ScratchpadWord(config))).array(readers)
        The words, in the order of the requests of the same reader.
    """

    #: Words that wait for a reader. The path from the bank takes three cycles, so four sustain the
    #: rate.
    RESPONSE_DEPTH = 4
    #: Requests that are taken before the first of their words is: two wait for a bank.
    words_ahead = RESPONSE_DEPTH + 2

    #: Cycles from a write taken to the first request, or exponent address, that finds it.
    write_latency = 1 + ExponentFile.latency

    writes: list[stream.Interface]
    written: wiring.PureInterface
    requests: list[stream.Interface]
    words: list[stream.Interface]

    def __init__(self, config: MachineConfig, readers: int, writers: int) -> None:
        self.config = config
        self.readers = readers
        self.writers = writers
        address = range(config.scratchpad_words)
        super().__init__({
            "writes": In(stream.Signature(ScratchpadWrite(config))).array(writers),
            "written": Out(WrittenWord(config)),
            "requests": In(stream.Signature(address)).array(readers),
            "words": Out(stream.Signature(ScratchpadWord(config))).array(readers),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        self._select_write(m)
        requests = []
        for index in range(self.readers):
            m.submodules[f"request_{index}"] = buffer = SkidBuffer(self.requests[index].p.shape())
            wiring.connect(m, wiring.flipped(self.requests[index]), buffer.i)
            requests.append(buffer.o)
        room = [self._count_room(m, index, request) for index, request in enumerate(requests)]
        answers = self._read_banks(m, requests, room)
        for index, (valid, word) in enumerate(answers):
            m.submodules[f"response_{index}"] = fifo = StreamFIFO(
                ScratchpadWord(self.config), self.RESPONSE_DEPTH
            )
            m.d.comb += [fifo.i.valid.eq(valid), fifo.i.payload.eq(word)]
            wiring.connect(m, fifo.o, wiring.flipped(self.words[index]))
        return m

    def _select_write(self, m: Module) -> None:
        """Register the write of the first writer that has one."""
        m.d.sync += self.written.valid.eq(0)
        for index, writer in enumerate(self.writes):
            before = Cat(other.valid for other in self.writes[:index])
            m.d.comb += writer.ready.eq(~before.any())
        for writer in reversed(self.writes):
            with m.If(writer.valid):
                m.d.sync += [self.written.payload.eq(writer.payload), self.written.valid.eq(1)]

    def _count_room(self, m: Module, index: int, request: stream.Interface) -> Signal:
        """Count the room for words of a reader; return whether there is any."""
        word = self.words[index]
        free = Signal(
            range(self.RESPONSE_DEPTH + 1), init=self.RESPONSE_DEPTH, name=f"free_{index}"
        )
        room = Signal(name=f"room_{index}")
        m.d.comb += room.eq(free != 0)
        m.d.sync += free.eq(free - (request.valid & request.ready) + (word.valid & word.ready))
        return room

    def _read_banks(
        self, m: Module, requests: list[stream.Interface], room: list[Signal]
    ) -> list[tuple[Signal, Signal]]:
        """Arbitrate each bank, read it, and bring the words back to their readers."""
        banks = range(self.config.scratchpad_banks)
        bits = exact_log2(len(banks))
        words = []
        wants = []  # for each bank, which readers ask for it
        for bank in banks:
            wanted = Signal(self.readers, name=f"wanted_{bank}")
            for index, request in enumerate(requests):
                m.d.comb += wanted[index].eq(
                    request.valid & room[index] & self._is_in(bank, request.payload)
                )
            wants.append(wanted)
            addresses = [request.payload[bits:] for request in requests]
            words.append(self._read_bank(m, bank, bits, wanted, addresses))

        answers = []
        for index, request in enumerate(requests):
            # Stage 0: no reader before this one asks for the same bank.
            here = Signal(max(bits, 1), name=f"bank_{index}")
            blocked = Signal(name=f"blocked_{index}")
            m.d.comb += here.eq(request.payload[:bits])
            for bank in banks:
                with m.If(here == bank):
                    m.d.comb += blocked.eq(wants[bank][:index].any())
            m.d.comb += request.ready.eq(room[index] & ~blocked)

            # Stages 1 and 2: where its word comes out.
            bank_1 = Signal.like(here, name=f"bank_{index}_1", reset_less=True)
            bank_2 = Signal.like(here, name=f"bank_{index}_2", reset_less=True)
            valid_1 = Signal(name=f"valid_{index}_1")
            valid_2 = Signal(name=f"valid_{index}_2")
            m.d.sync += [
                bank_1.eq(here),
                bank_2.eq(bank_1),
                valid_1.eq(request.valid & request.ready),
                valid_2.eq(valid_1),
            ]
            answers.append((valid_2, Array(words)[bank_2] if bits else words[0]))
        return answers

    def _is_in(self, bank: int, address: Value) -> Value:
        banks = self.config.scratchpad_banks
        return address[: exact_log2(banks)] == bank if banks > 1 else Const(1)

    def _read_bank(
        self, m: Module, bank: int, bits: int, wanted: Signal, addresses: list[Value]
    ) -> Signal:
        """Make a bank; return the word that the first reader wanting it gets, 2 cycles later."""
        m.submodules[f"bank_{bank}"] = storage = memory.Memory(
            shape=ScratchpadWord(self.config),
            depth=self.config.scratchpad_words >> bits,
            init=[],
        )
        write = storage.write_port(granularity=self.config.columns)
        read = storage.read_port()
        written = self.written.payload
        with m.If(self.written.valid & self._is_in(bank, written.address)):
            m.d.comb += write.en.eq(written.mask)
        m.d.comb += [
            write.addr.eq(written.address[bits:]),
            write.data.eq(written.data),
            read.en.eq(wanted.any()),
        ]
        for index in reversed(range(self.readers)):
            with m.If(wanted[index]):
                m.d.comb += read.addr.eq(addresses[index])
        word = Signal(len(Value.cast(read.data)), name=f"word_{bank}", reset_less=True)
        m.d.sync += word.eq(Value.cast(read.data))
        return word
