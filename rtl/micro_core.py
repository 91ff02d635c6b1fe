"""The processor of a microprogrammed machine."""

from amaranth import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.cores.multiply import Multiplier
from celosia.cores.single_port import SinglePortMemory
from celosia.isa import COUNTERS
from celosia.rtl.counters import CounterRead
from celosia.rtl.instruction_register import ArgumentWrite
from celosia.rtl.micro_columns import Columns
from celosia.rtl.micro_layout import LANES
from celosia.rtl.micro_program import Microprogram
from celosia.rtl.micro_words import REGISTERS, WORDS, Op, Reader, Writer

__all__ = ["MicroCore", "MicroRequest"]


class MicroRequest(data.Struct):
    """An access to memory at a byte address: a beat with bytes to write, or `more` + 1 to read."""

    address: 32
    more: 8
    data: 32
    write: 4


class MicroCore(wiring.Component):
    """Executes a microprogram.

    A word takes two cycles, three if it loads or shifts, six if it multiplies; words that wait for
    a port, and rows, take as much longer. Between any two words the host can
    read a counter; it writes arguments only while no run is under way.

    Parameters
    ----------
    program : Microprogram
        What to execute, from a reset on.

    Members
    -------
    ready : Out(1)
        All memory has been cleared; from then on runs can be started.
    start, finished : In(1), Out(1)
        The host starts a run; it has ended. All of these for a cycle.
    fault, fault_address : Out(3), Out(32)
        It has ended by this cause, in the instruction at this address.
    program, window_base, window_size : In(32)
        What the host has written.
    argument, counter : In(ArgumentWrite()), In(CounterRead())
        It writes an argument; it reads a counter.
    requests, beats : Out(stream.Signature(MicroRequest)), In(stream.Signature(32))
        Memory, and what has been read.
    """

    requests: stream.Interface
    beats: stream.Interface

    def __init__(self, program: Microprogram) -> None:
        self.microprogram = program
        super().__init__({
            "ready": Out(1),
            "start": In(1),
            "finished": Out(1),
            "fault": Out(3),
            "fault_address": Out(32),
            "program": In(32),
            "window_base": In(32),
            "window_size": In(32),
            "argument": In(ArgumentWrite()),
            "counter": In(CounterRead()),
            "requests": Out(stream.Signature(MicroRequest)),
            "beats": In(stream.Signature(32)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.columns = columns = Columns()
        m.submodules.local = local = SinglePortMemory(self.microprogram.layout.words)
        words = [*self.microprogram.words, *[0] * (WORDS - len(self.microprogram.words))]
        m.submodules.rom = rom = memory.Memory(shape=32, depth=WORDS, init=words)
        fetch = rom.read_port()
        first = [self.microprogram.registers.get(index, 0) for index in range(REGISTERS)]
        # Two memories: a block RAM has one port to read.
        ports = []
        for name in ("a", "b"):
            m.submodules[f"registers_{name}"] = file = memory.Memory(
                shape=32, depth=REGISTERS, init=first
            )
            ports.append((file.write_port(), file.read_port()))

        word = fetch.data
        op = word[:5]
        a = ports[0][1].data
        b = Signal(32)
        immediate = word[29] & ~op[4]
        m.d.comb += b.eq(Mux(immediate, word[13:21].as_signed(), ports[1][1].data))
        result = Signal(32)
        d = Signal(exact_log2(REGISTERS))
        written = Signal()
        for write, _ in ports:
            m.d.comb += [write.addr.eq(d), write.data.eq(result), write.en.eq(written)]

        rounds = Signal()
        shifted = Signal(33, reset_less=True)
        total = self._sum(m, op, a, b, rounds, shifted)
        taken = self._taken(m, op, a, ports[1][1].data)

        # Where this word is, and the next one.
        place = Signal(exact_log2(WORDS), reset_less=True)
        following = Signal.like(place)
        branches, step = Signal(), Signal()
        target = Signal.like(place)
        m.d.comb += [
            following.eq(place + 1),
            fetch.addr.eq(Mux(branches, target, following)),
            fetch.en.eq(step),
            target.eq(Mux(op == Op.JMP, a, word[21:])),
        ]
        with m.If(step):
            m.d.sync += place.eq(fetch.addr)

        loads, stores = Signal(), Signal()
        selected = Signal(reset_less=True)  # the half of a word that is loaded
        self._local(m, local, columns, op, a, b, Mux(loads, total[:15], a[:15]), loads, stores)

        strobe = Signal(4, reset_less=True)
        offset = Signal.like(columns.offset, reset_less=True)
        mode = Signal(5, reset_less=True)
        cycles = Signal(32, reset_less=True)
        runs = Signal()
        with m.If(runs):
            m.d.sync += cycles.eq(cycles + 1)
        m.d.comb += [
            columns.address.eq(a),
            columns.count.eq(b),
            columns.offset.eq(offset),
            columns.exponent.eq(mode),
            columns.raw.eq(mode[4]),
            columns.place.eq(a),
            columns.byte.eq(b),
            columns.x.eq(a),
            columns.y.eq(b),
            self.requests.p.address.eq(a),
            self.requests.p.data.eq(b),
            self.requests.p.more.eq(b),
            self.requests.p.write.eq(Mux(word[21:29] == Writer.WRITE, strobe, 0)),
            self.fault_address.eq(a),
        ]

        shown = self._shown(m, word[13:17], columns, cycles)

        # What a word does: fetched, its registers are read; executed; and for some a third step.
        # As it ends, the registers have time for the host.
        m.d.comb += [d.eq(word[21:29]), result.eq(total)]
        left = Signal(range(Multiplier.latency + 1))
        looks, seen = Signal(), Signal()
        looked = Signal.like(self.counter.index)
        m.d.sync += [
            looked.eq(self.counter.index),
            # A register that is written in this cycle has no value that could be read.
            seen.eq(looks & ~(written & (d == self.counter.index))),
        ]
        m.d.comb += [
            ports[0][1].addr.eq(Mux(looks, self.counter.index, word[5:13])),
            ports[1][1].addr.eq(word[13:21]),
            self.counter.value.eq(Mux(looked == COUNTERS.index("cycles"), cycles, a)),
        ]
        starts = Signal()
        with m.If(self.start):
            m.d.sync += starts.eq(1)
        with m.FSM(init="RESET"):
            with m.State("RESET"):
                m.d.comb += [step.eq(1), branches.eq(1), target.eq(0)]
                m.next = "FETCHED"
            with m.State("FETCHED"):
                m.d.comb += [read.en.eq(1) for _, read in ports]
                m.d.comb += self.counter.found.eq(seen & (looked == self.counter.index))
                m.next = "EXECUTE"
            with m.State("EXECUTE"):
                m.d.comb += step.eq(1)
                m.next = "FETCHED"
                with m.Switch(op):
                    with m.Case(Op.ADD, Op.SUB):
                        m.d.comb += written.eq(1)
                    with m.Case(Op.SHR, Op.RND):
                        # With a bit more below, by which it is rounded.
                        m.d.comb += step.eq(0)
                        m.d.sync += shifted.eq(Cat(Const(0, 1), a).as_signed() >> b[:5])
                        with m.If((op == Op.RND) & b[5]):
                            m.d.sync += shifted.eq(0)
                        m.next = "SHIFTED"
                    with m.Case(Op.AND):
                        m.d.comb += [written.eq(1), result.eq(a & b)]
                    with m.Case(Op.OR):
                        m.d.comb += [written.eq(1), result.eq(a | b)]
                    with m.Case(Op.XOR):
                        m.d.comb += [written.eq(1), result.eq(a ^ b)]
                    with m.Case(Op.MIN, Op.MAX):
                        m.d.comb += [
                            written.eq(1),
                            result.eq(Mux(total[32] ^ a[31] ^ b[31] ^ (op == Op.MAX), b, a)),
                        ]
                    with m.Case(Op.MUL):
                        m.d.comb += step.eq(0)
                        m.d.sync += left.eq(Multiplier.latency - 1)
                        m.next = "MULTIPLY"
                    with m.Case(Op.LDH, Op.LDW):
                        m.d.comb += [step.eq(0), loads.eq(1)]
                        m.d.sync += selected.eq(total[0])
                        m.next = "LOADED"
                    with m.Case(Op.STH, Op.STW):
                        m.d.comb += stores.eq(1)
                    with m.Case(Op.IN):
                        m.d.comb += [result.eq(shown), written.eq(step)]
                        with m.If(word[13:17] == Reader.BEAT):
                            m.d.comb += [self.beats.ready.eq(1), step.eq(self.beats.valid)]
                            with m.If(~self.beats.valid):
                                m.next = "EXECUTE"
                        with m.If(word[13:17] == Reader.START):
                            # Fetched again and again, so that the host can look.
                            m.d.comb += [step.eq(starts), looks.eq(1)]
                            m.d.sync += self.ready.eq(1)
                            with m.If(starts):
                                m.d.sync += [starts.eq(0), runs.eq(1), cycles.eq(0)]
                    with m.Case(Op.OUT):
                        with m.Switch(word[21:29]):
                            with m.Case(Writer.READ, Writer.WRITE):
                                m.d.comb += [
                                    self.requests.valid.eq(1),
                                    step.eq(self.requests.ready),
                                ]
                                with m.If(~self.requests.ready):
                                    m.next = "EXECUTE"
                            with m.Case(Writer.STROBE):
                                m.d.sync += strobe.eq(b)
                            with m.Case(Writer.STRIP):
                                m.d.comb += columns.write.eq(1)
                            with m.Case(Writer.ROW):
                                m.d.comb += [columns.start.eq(1), step.eq(0)]
                                m.next = "ROW"
                            with m.Case(Writer.MODE):
                                m.d.sync += [offset.eq(a), mode.eq(b)]
                            with m.Case(Writer.HALT):
                                m.d.comb += self.finished.eq(1)
                                m.d.sync += runs.eq(0)
                            with m.Case(Writer.FAULT):
                                m.d.comb += self.fault.eq(b)
                                m.d.sync += runs.eq(0)
                    with m.Case(Op.BEQ, Op.BNE, Op.BLT, Op.BGE, Op.BLTU, Op.BGEU):
                        m.d.comb += branches.eq(taken)
                    with m.Case(Op.DBNZ):
                        m.d.comb += [branches.eq(a != 1), written.eq(1), d.eq(word[5:13])]
                    with m.Case(Op.CALL):
                        m.d.comb += [branches.eq(1), written.eq(1), d.eq(word[13:21])]
                        m.d.comb += result.eq(following)
                    with m.Case(Op.JMP):
                        m.d.comb += branches.eq(1)
                    with m.Case(Op.LDI):
                        m.d.comb += [written.eq(1), result.eq(word[5:21])]
            with m.State("SHIFTED"):
                m.d.comb += [step.eq(1), written.eq(1), rounds.eq(1)]
                m.next = "FETCHED"
            with m.State("LOADED"):
                m.d.comb += [step.eq(1), written.eq(1), result.eq(local.o)]
                with m.If(op == Op.LDH):
                    m.d.comb += result.eq(local.o.word_select(selected, 16).as_signed())
                m.next = "FETCHED"
            with m.State("MULTIPLY"):
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.d.comb += [step.eq(1), written.eq(1), result.eq(columns.product)]
                    m.next = "FETCHED"
            with m.State("ROW"):
                with m.If(~columns.busy):
                    m.d.comb += step.eq(1)
                    m.next = "FETCHED"
        with m.If(step):
            m.d.comb += looks.eq(1)
        with m.If(looks):
            m.d.comb += ports[0][1].en.eq(1)
        return m

    def _local(
        self,
        m: Module,
        local: SinglePortMemory,
        columns: Columns,
        op: Value,
        a: Value,
        b: Value,
        half: Value,
        loads: Value,
        stores: Value,
    ) -> None:
        """Let columns, host and words use the local memory: never two of them at a time."""
        arguments = self.microprogram.layout.arguments // 2
        half_mask = Mux(a[0], 0b1100, 0b0011)
        m.d.comb += [
            columns.word.eq(local.o),
            local.i.eq(Mux(op == Op.STW, b, Cat(b[:16], b[:16]))),
        ]
        with m.If(columns.read):
            m.d.comb += [local.enable.eq(1), local.address.eq(columns.half[1:])]
        with m.Elif(self.argument.valid):
            m.d.comb += [
                local.enable.eq(1),
                local.address.eq(arguments + self.argument.register),
                local.write.eq(-1),
                local.i.eq(self.argument.value),
            ]
        with m.Else():
            m.d.comb += [
                local.enable.eq(loads | stores),
                local.address.eq(half[1:]),
                local.write.eq(Mux(stores, Mux(op == Op.STW, 0b1111, half_mask), 0)),
            ]

    def _shown(self, m: Module, port: Value, columns: Columns, cycles: Value) -> Signal:
        """Return what a port shows."""
        shown = Signal(32)
        values = {
            Reader.BEAT: self.beats.payload,
            Reader.PROGRAM: self.program,
            Reader.WINDOW_BASE: self.window_base,
            Reader.WINDOW_SIZE: self.window_size,
            Reader.CYCLES: cycles,
            **{Reader.SUM + column: columns.sums[column] for column in range(LANES)},
        }
        with m.Switch(port):
            for number, value in values.items():
                with m.Case(number):
                    m.d.comb += shown.eq(value)
        return shown

    def _sum(
        self, m: Module, op: Value, a: Value, b: Value, rounds: Value, shifted: Value
    ) -> Signal:
        """Return a + b, a - b or a - 1, as `op` says, with the carry; with `rounds`, `shifted`."""
        subtracts = Signal()
        first, second, total = Signal(32), Signal(32), Signal(33)
        m.d.comb += [
            subtracts.eq((op == Op.SUB) | (op == Op.MIN) | (op == Op.MAX)),
            first.eq(Mux(rounds, shifted[1:], a)),
            second.eq(Mux(rounds, 0, Mux(op == Op.DBNZ, -1, b ^ subtracts.replicate(32)))),
            total.eq(first + second + Mux(rounds, (op == Op.RND) & shifted[0], subtracts)),
        ]
        return total

    def _taken(self, m: Module, op: Value, a: Value, b: Value) -> Signal:
        """Return whether the condition of a branch holds, away from all other arithmetic."""
        same, below, taken = Signal(), Signal(), Signal()
        signs = (op == Op.BLT) | (op == Op.BGE)
        flipped = (Cat(x[:31], x[31] ^ signs) for x in (a, b))
        first, second = flipped
        m.d.comb += [
            same.eq(a == b),
            below.eq(first < second),
            taken.eq(Mux((op == Op.BEQ) | (op == Op.BNE), same, below) ^ op[0]),
        ]
        return taken
