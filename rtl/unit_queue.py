"""Queue of one unit: holds its instructions until their tokens are there."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.isa import INSTRUCTION_BYTES, Unit
from celosia.rtl.decode import header_layout, unit_bits
from celosia.rtl.stream import StreamFIFO
from celosia.rtl.tokens import TokenPort

__all__ = ["Dispatch", "UnitQueue"]


class Dispatch(data.Struct):
    """An instruction and its byte address in the window."""

    word: 8 * INSTRUCTION_BYTES
    address: 32


class UnitQueue(wiring.Component):
    """Offers instructions to a unit in order, each when its tokens are there.

    A unit may take an instruction before earlier ones have ended; it ends them in order. What it
    is offered lies in a register, while the tokens of the next one are looked for. Only the matrix
    unit, whose instructions are the ones that others are dispatched behind, has more than one of
    them wait. Bits that mean nothing to the unit are not kept, and are 0.

    Parameters
    ----------
    unit : Unit
        The unit.

    Members
    -------
    i : In(stream.Signature(Dispatch))
        From the sequencer.
    o : Out(stream.Signature(512))
        To the unit.
    done : In(1)
        The unit has ended an instruction.
    tokens : Out(TokenPort())
        To the token board.
    idle : Out(1)
        Everything taken has ended.
    waits : Out(1)
        An instruction waits for tokens.
    oldest : Out(32)
        Address of the oldest instruction that has started and not ended.
    """

    #: Instructions of the matrix unit that wait or are offered; and those that a unit may have
    #: under way.
    DEPTH = 3
    UNDER_WAY = 16

    def __init__(self, unit: Unit) -> None:
        self.is_deep = unit is Unit.MATRIX
        self.kept = unit_bits(unit)
        super().__init__({
            "i": In(stream.Signature(Dispatch)),
            "o": Out(stream.Signature(8 * INSTRUCTION_BYTES)),
            "done": In(1),
            "tokens": Out(TokenPort()),
            "idle": Out(1),
            "waits": Out(1),
            "oldest": Out(32),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        kept = data.StructLayout({"bits": len(self.kept), "address": 32})
        ends = data.StructLayout({"signal": len(Unit), "address": 32})
        m.submodules.under_way = under_way = StreamFIFO(ends, self.UNDER_WAY)
        # Once there, the tokens of the next instruction stay until it starts.
        started = Signal()
        may_start = Signal()
        instruction = Signal(8 * INSTRUCTION_BYTES, reset_less=True)
        word = Signal.like(instruction)
        header = header_layout()(word)
        # The oldest one that waits. The dispatcher waits for the room of four queues, and many
        # registers for the dispatcher: room is found a cycle ahead.
        waiting = Signal()
        next_one = Signal(kept, reset_less=True)
        arrived = Signal(kept)
        room = Signal()
        come = Signal()
        m.d.comb += [
            self.i.ready.eq(room),
            come.eq(self.i.valid & room),
            arrived.bits.eq(Cat(self.i.p.word[bit] for bit in self.kept)),
            arrived.address.eq(self.i.p.address),
        ]
        if self.is_deep:
            m.submodules.queue = queue = StreamFIFO(kept, self.DEPTH)
            m.d.comb += [
                queue.i.valid.eq(come),
                queue.i.payload.eq(arrived),
                queue.o.ready.eq(self.tokens.starts),
                waiting.eq(queue.o.valid),
                next_one.eq(queue.o.payload),
            ]
            # With the instruction that may come until then.
            m.d.sync += room.eq(queue.level + started + room < self.DEPTH)
        else:
            m.d.sync += [
                waiting.eq(come | (waiting & ~self.tokens.starts)),
                room.eq(~come & (~waiting | self.tokens.starts)),
            ]
            with m.If(come):
                m.d.sync += next_one.eq(arrived)
        m.d.sync += may_start.eq(waiting & self.tokens.may_start & ~self.tokens.starts)
        m.d.comb += [
            Cat(word[bit] for bit in self.kept).eq(next_one.bits),
            self.tokens.wait.eq(header.wait),
            self.tokens.promise.eq(header.signal),
            self.tokens.starts.eq(may_start & ~started & under_way.i.ready),
            self.waits.eq(waiting & ~started & ~self.tokens.may_start),
            under_way.i.valid.eq(self.tokens.starts),
            under_way.i.p.signal.eq(header.signal),
            under_way.i.p.address.eq(next_one.address),
            self.o.valid.eq(started),
            self.o.payload.eq(instruction),
            under_way.o.ready.eq(self.done),
            self.tokens.signal.eq(Mux(self.done, under_way.o.p.signal, 0)),
            self.oldest.eq(under_way.o.p.address),
            self.idle.eq(~waiting & ~under_way.o.valid),
        ]
        with m.If(self.tokens.starts):
            m.d.sync += [started.eq(1), instruction.eq(word)]
        with m.Elif(self.o.ready):
            m.d.sync += started.eq(0)

        return m
