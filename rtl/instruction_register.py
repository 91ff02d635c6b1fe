"""Instruction register: gathers an instruction and adds arguments to its operands."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.isa import ARGUMENT_HALF, ARGUMENT_SLOTS, ARGUMENTS, INSTRUCTION_BYTES, OPCODES

__all__ = ["ArgumentWrite", "InstructionRegister"]

#: Bits of an instruction that hold operands; those above hold the additions.
BODY = 16 * ARGUMENT_HALF


class ArgumentWrite(wiring.Signature):
    """One argument register to write: `valid`, `register`, `value`."""

    def __init__(self) -> None:
        super().__init__({"valid": Out(1), "register": Out(range(ARGUMENTS)), "value": Out(32)})


class InstructionRegister(wiring.Component):
    """Gathers the beats of one instruction, adds its arguments, offers it.

    Without additions it is offered in the cycle after its last beat. With some, it goes round in
    the register, a beat (at most 16 bytes) a cycle, past one adder: once, with two cycles more and
    one for each addition, if they come in the order of their words; every one that is out of order,
    or to the same word as the one before, takes another round. To change any word in its place
    would take two multiplexers over the whole register.

    Parameters
    ----------
    config : MachineConfig
        Memory width.

    Members
    -------
    data : In(stream.Signature(8 * memory_width))
        Beats from memory.
    argument : In(ArgumentWrite())
        From the host, while no instructions come.
    discard : In(1)
        What comes now is not wanted: nothing is added to it.
    o : Out(stream.Signature(512))
        Instructions with their arguments added; the next one is gathered when it has been taken.
    begins : Out(1)
        The first beat of an instruction is taken from `data`.
    """

    data: stream.Interface
    o: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "data": In(stream.Signature(8 * config.memory_width)),
            "argument": In(ArgumentWrite()),
            "discard": In(1),
            "o": Out(stream.Signature(8 * INSTRUCTION_BYTES)),
            "begins": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        width = self.config.memory_width
        beats = INSTRUCTION_BYTES // width
        beat = self.data.payload
        body = Signal(BODY, reset_less=True)
        slots = Signal(8 * INSTRUCTION_BYTES - BODY, reset_less=True)
        count = Signal(range(beats + 1))
        ends = Signal(range(ARGUMENT_SLOTS + 1))  # one more than the last slot that is not empty
        taken = Signal()
        empty = Signal()  # no addition in this beat or before it
        m.d.comb += [
            self.data.ready.eq(count != beats),
            taken.eq(self.data.valid & self.data.ready),
            self.begins.eq(taken & (count == 0)),
            self.o.payload.eq(Cat(body, slots)),
            empty.eq(ends == 0),
        ]
        for slot in range(ARGUMENT_SLOTS):
            number, place = divmod(2 * (ARGUMENT_HALF + slot), width)
            asks = beat[8 * place : 8 * place + 5].any() & ~self.discard
            with m.If((count == number) & asks):
                m.d.comb += empty.eq(0)
                with m.If(taken):
                    m.d.sync += ends.eq(slot + 1)

        turns, turned = self._add(m, body, slots, count == beats, ends)
        gathered = Cat(body, slots, beat)[8 * width :]
        with m.If(taken | turns):
            m.d.sync += body.eq(Mux(taken, gathered[:BODY], turned))
        with m.If(taken):
            m.d.sync += [
                slots.eq(gathered[BODY:]),
                count.eq(count + 1),
                self.o.valid.eq((count == beats - 1) & empty),
            ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [self.o.valid.eq(0), count.eq(0), ends.eq(0)]

        return m

    def _add(
        self, m: Module, body: Signal, slots: Signal, whole: Value, ends: Signal
    ) -> tuple[Value, Value]:
        """Pick up the additions of a whole instruction and let their words come round.

        Returns
        -------
        turns, turned : Value
            Whether the body turns in this cycle, and what it turns into.
        """
        step = min(self.config.memory_width, 16)  # bytes
        steps = BODY // (8 * step)
        words = step // 4
        at = Signal(range(steps))  # the step of the body that comes by
        slot = Signal.like(ends)
        armed = Signal()  # there is something to add
        word = Signal(4, reset_less=True)  # to which it is added
        wide = Signal(reset_less=True)
        addend = Signal(32, reset_less=True)
        opcode = Signal(4, reset_less=True)
        with m.If(self.begins):
            m.d.sync += opcode.eq(self.data.payload[:4])

        # Pick up: place, width and register of an addition.
        m.submodules.arguments = values = memory.Memory(shape=32, depth=ARGUMENTS, init=[])
        write, read = values.write_port(), values.read_port(domain="comb")
        entry = slots.word_select(slot[:3], 16)
        value = read.data
        low = value[:16]
        picks = Signal()
        m.d.comb += [
            write.en.eq(self.argument.valid),
            write.addr.eq(self.argument.register),
            write.data.eq(self.argument.value),
            read.addr.eq(entry[8:]),
            picks.eq(whole & ~armed & (slot != ends)),
        ]
        with m.If(picks):
            m.d.sync += [
                slot.eq(slot + 1),
                armed.eq(_is_operand(m, opcode, entry)),
                word.eq(entry[1:5]),
                wide.eq(entry[5]),
                addend.eq(Mux(entry[0], low << 16, Mux(entry[5], value, low))),
            ]

        # Turn, and add where the word comes by. A half-word gets no carry from another one.
        turns = Signal()
        adds = Signal()
        ended = Signal()
        passing = Signal(8 * step)
        lane = word[: exact_log2(words)]
        before = body[: 8 * step].word_select(lane, 32)
        lower = before[:16] + addend[:16]
        upper = before[16:] + addend[16:] + (lower[16] & wide)
        m.d.comb += [
            ended.eq(whole & ~armed & (slot == ends)),
            adds.eq(armed & (at == word[exact_log2(words) :])),
            turns.eq(armed | (ended & (at != 0))),
            passing.eq(body),
        ]
        with m.If(adds):
            m.d.comb += passing.word_select(lane, 32).eq(Cat(lower[:16], upper[:16]))
            m.d.sync += armed.eq(0)
        with m.If(turns):
            m.d.sync += at.eq(Mux(at == steps - 1, 0, at + 1))
        with m.If(ended & (at == 0)):
            m.d.sync += self.o.valid.eq(1)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += slot.eq(0)
        return turns, Cat(body[8 * step :], passing)


def _is_operand(m: Module, opcode: Signal, entry: Value) -> Value:
    """Whether an operand of 16 or 32 bits lies where an addition goes, and has its width."""
    places = Signal(64)
    with m.Switch(opcode):
        for code, (_, fields) in OPCODES.items():
            known = sum(1 << (f.lsb // 16 | (f.width > 16) << 5) for f in fields if f.width >= 16)
            with m.Case(code):
                m.d.comb += places.eq(known)
    return places.bit_select(entry[:6], 1)
