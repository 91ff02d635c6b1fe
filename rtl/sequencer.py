"""Sequencer: fetches instructions and hands them to the units' queues."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.isa import INSTRUCTION_BYTES, OPCODES, Flag, Opcode, Unit
from celosia.rtl.bursts import MemoryRequest
from celosia.rtl.decode import has_flag, header_layout
from celosia.rtl.instruction_register import ArgumentWrite, InstructionRegister
from celosia.rtl.stream import SkidBuffer, StreamFIFO
from celosia.rtl.unit_queue import Dispatch

__all__ = ["InstructionFetch", "Sequencer"]


class InstructionFetch(wiring.Component):
    """Reads a program ahead, instruction by instruction, until told to stop.

    What it offers has its arguments added. Nothing beyond the window is asked for before it is
    certain that it is wanted, so reading ahead raises no fault.

    Members
    -------
    start, stop : In(1)
        Begin at `program`; ask for no more.
    program, window_size : In(32)
        Byte offset of the first instruction; bytes of the window.
    requests, data : memory client
    argument : In(ArgumentWrite())
        Argument registers.
    discard : In(1)
        The program has ended; what comes now is data.
    o : Out(stream.Signature(Dispatch))
        Instructions with their addresses.
    begins : Out(1)
        The first beat of the next one is taken from `data`.
    wanted : In(1)
        Everything read so far has been handed on, and it did not end the program.
    idle : Out(1)
        No answer is missing.
    """

    #: Instructions asked for and not handed on.
    AHEAD = 4

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1),
            "stop": In(1),
            "program": In(32),
            "window_size": In(32),
            "requests": Out(stream.Signature(MemoryRequest)),
            "data": In(stream.Signature(8 * config.memory_width)),
            "argument": In(ArgumentWrite()),
            "discard": In(1),
            "o": Out(stream.Signature(Dispatch)),
            "begins": Out(1),
            "wanted": In(1),
            "idle": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()

        # Ask.
        running = Signal()
        address = Signal(32)
        ahead = Signal(range(self.AHEAD + 1))
        inside = Signal()
        m.d.comb += [
            inside.eq(address + INSTRUCTION_BYTES <= self.window_size),
            self.requests.valid.eq(
                running & (ahead != self.AHEAD) & (inside | (self.wanted & (ahead == 0)))
            ),
            self.requests.p.address.eq(address),
            self.requests.p.beats.eq(INSTRUCTION_BYTES // self.config.memory_width),
        ]
        asks = Signal()
        gives = Signal()
        m.d.comb += [
            asks.eq(self.requests.valid & self.requests.ready),
            gives.eq(self.o.valid & self.o.ready),
            self.idle.eq(ahead == 0),
        ]
        m.d.sync += ahead.eq(ahead + asks - gives)
        with m.If(self.start):
            m.d.sync += [running.eq(1), address.eq(self.program)]
        with m.Elif(self.stop):
            m.d.sync += running.eq(0)
        with m.Elif(asks):
            m.d.sync += address.eq(address + INSTRUCTION_BYTES)

        # Gather.
        m.submodules.instruction = instruction = InstructionRegister(self.config)
        wiring.connect(m, wiring.flipped(self.data), instruction.data)
        wiring.connect(m, wiring.flipped(self.argument), instruction.argument)
        place = Signal(32)
        m.d.comb += [
            self.o.valid.eq(instruction.o.valid),
            self.o.p.word.eq(instruction.o.payload),
            self.o.p.address.eq(place),
            instruction.o.ready.eq(self.o.ready),
            instruction.discard.eq(self.discard),
            self.begins.eq(instruction.begins),
        ]
        with m.If(gives):
            m.d.sync += place.eq(place + INSTRUCTION_BYTES)
        with m.If(self.start):
            m.d.sync += place.eq(self.program)

        return m


class Sequencer(wiring.Component):
    """Runs a program: fetch, decode, dispatch; HALT waits until all units are idle.

    Members
    -------
    start, program, window_size : In(1), In(32), In(32)
        Begin; where.
    stop : In(1)
        A fault elsewhere: dispatch nothing more.
    requests, data : memory client
    argument : In(ArgumentWrite())
        Argument registers, written while nothing runs.
    units : Out(stream.Signature(Dispatch)).array(len(Unit))
        Instructions for the units' queues.
    prefetch : Out(stream.Signature(512))
        MATMULs with weights in memory.
    units_idle : In(1)
        All queues are idle.
    done, illegal : Out(1)
        The program has ended; an opcode is not defined (held).
    address : Out(32)
        Address of the instruction that is being decoded.
    dispatched : Out(1)
        An instruction leaves, HALT included.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "start": In(1),
            "stop": In(1),
            "program": In(32),
            "window_size": In(32),
            "requests": Out(stream.Signature(MemoryRequest)),
            "data": In(stream.Signature(8 * config.memory_width)),
            "argument": In(ArgumentWrite()),
            "units": Out(stream.Signature(Dispatch)).array(len(Unit)),
            "prefetch": Out(stream.Signature(8 * INSTRUCTION_BYTES)),
            "units_idle": In(1),
            "done": Out(1),
            "illegal": Out(1),
            "address": Out(32),
            "dispatched": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.fetch = fetch = InstructionFetch(self.config)
        m.submodules.prefetches = prefetches = StreamFIFO(8 * INSTRUCTION_BYTES, 3)
        wiring.connect(m, fetch.requests, wiring.flipped(self.requests))
        # A beat comes late out of block RAM.
        m.submodules.beats = beats = SkidBuffer(8 * self.config.memory_width)
        wiring.connect(m, wiring.flipped(self.data), beats.i)
        wiring.connect(m, beats.o, fetch.data)
        wiring.connect(m, wiring.flipped(self.argument), fetch.argument)
        wiring.connect(m, prefetches.o, wiring.flipped(self.prefetch))

        # Decode the header, which the first beat has, while the other beats come.
        beat = beats.o.payload
        header = header_layout()(Cat(beat, Const(0, 8 * INSTRUCTION_BYTES - len(beat))))
        is_halt = Signal()
        halted = Signal()
        targets = Signal(len(Unit))
        fetches_weights = Signal()
        with m.If(fetch.begins):
            m.d.sync += [
                is_halt.eq(0),
                targets.eq(0),
                fetches_weights.eq(
                    (header.opcode == Opcode.MATMUL) & has_flag(header, Flag.WEIGHTS_IN_MEMORY)
                ),
            ]
            with m.Switch(header.opcode):
                for opcode, (unit, _) in OPCODES.items():
                    with m.Case(opcode):
                        m.d.sync += is_halt.eq(1) if unit is None else targets.eq(1 << unit)

        # Dispatch to the unit, and weights to their fetcher, at once.
        known = Signal()
        room = Signal()
        go = Signal()
        m.d.comb += [
            known.eq(is_halt | targets.any()),
            room.eq((Cat(unit.ready for unit in self.units) & targets).any()),
            go.eq(
                fetch.o.valid
                & ~self.stop
                & ~halted
                & room
                & (~fetches_weights | prefetches.i.ready)
            ),
            fetch.start.eq(self.start),
            fetch.program.eq(self.program),
            fetch.window_size.eq(self.window_size),
            fetch.wanted.eq(~halted & ~self.stop),
            fetch.stop.eq((fetch.o.valid & (is_halt | ~known)) | self.stop),
            # After HALT, what was read ahead is thrown away.
            fetch.discard.eq(halted),
            fetch.o.ready.eq(Mux(halted, 1, go | (is_halt & ~self.stop))),
            prefetches.i.payload.eq(fetch.o.p.word),
            prefetches.i.valid.eq(go & fetches_weights),
            self.dispatched.eq(fetch.o.valid & fetch.o.ready & ~halted),
            self.address.eq(fetch.o.p.address),
        ]
        for index, unit in enumerate(self.units):
            m.d.comb += [unit.payload.eq(fetch.o.payload), unit.valid.eq(go & targets[index])]

        with m.If(fetch.o.valid & ~halted & ~self.stop):
            with m.If(is_halt):
                m.d.sync += halted.eq(1)
            with m.Elif(~known):
                m.d.sync += self.illegal.eq(1)
        m.d.comb += self.done.eq(halted & self.units_idle & fetch.idle)

        return m
