"""The accelerator: host registers, sequencer, four units, scratchpad and memory."""

from amaranth import Cat, Module, Mux, ResetInserter
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.isa import INSTRUCTION_BYTES, Cause, Unit
from celosia.rtl.axi import AXI4, AXI4Lite, connect_halves
from celosia.rtl.control import RunControl
from celosia.rtl.counters import Counters
from celosia.rtl.exponents import ExponentFile
from celosia.rtl.flash import FlashPins
from celosia.rtl.flash_memory import FlashMemory
from celosia.rtl.load import LoadUnit
from celosia.rtl.matrix import MatrixUnit
from celosia.rtl.memory_reader import MemoryReader
from celosia.rtl.memory_writer import MemoryWriter
from celosia.rtl.on_chip import OnChipMemory
from celosia.rtl.registers import HostRegisters
from celosia.rtl.scratchpad import Scratchpad
from celosia.rtl.sdram import SDRAMMemory
from celosia.rtl.sdram_pins import SDRAMPins
from celosia.rtl.sequencer import InstructionFetch, Sequencer
from celosia.rtl.store import StoreUnit
from celosia.rtl.tokens import TokenBoard
from celosia.rtl.trace import Trace, TraceDelay
from celosia.rtl.unit_queue import UnitQueue
from celosia.rtl.vector import VectorUnit

__all__ = ["Accelerator"]

#: Clients of the memory reader, the most urgent first.
INSTRUCTIONS, ROWS, WEIGHTS = range(3)
#: Beats that wait for the load unit and for the array's tiles; they cover the memory's latency.
ROW_BEATS, WEIGHT_BEATS = 128, 512
#: Tiles that are fetched before rows are; beyond them, weights only fill gaps.
RESERVED_TILES = 2


class Accelerator(wiring.Component):
    """A whole machine.

    Parameters
    ----------
    config : MachineConfig
        The machine.

    Members
    -------
    s_axi_lite : In(AXI4Lite())
        Registers, and the machine's own memory if it has any (docs/architecture.md, section 6).
    m_axi : Out(AXI4(config))
        External memory, if the configuration has it.
    sdram : Out(SDRAMPins(config.sdram_settings))
        An SDRAM, if the configuration has it.
    flash : Out(FlashPins())
        A flash, if the configuration has it.
    interrupt : Out(1)
        The last run has ended, well or not.
    trace : Out(Trace())
        What happens, for simulations that record it; leave it open elsewhere.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        ports = {"s_axi_lite": In(AXI4Lite()), "interrupt": Out(1), "trace": Out(Trace())}
        if config.memory == "axi4":
            ports["m_axi"] = Out(AXI4(config))
        if config.memory == "sdram":
            ports["sdram"] = Out(SDRAMPins(config.sdram_settings))
        if config.memory == "flash":
            ports["flash"] = Out(FlashPins())
        super().__init__(ports)

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        fetch_beats = InstructionFetch.AHEAD * INSTRUCTION_BYTES // config.memory_width

        m.submodules.registers = registers = HostRegisters(config)
        m.submodules.control = control = RunControl()
        m.submodules.counters = counters = Counters()

        fresh = ResetInserter(control.clear)  # a run finds nothing of the last one
        sequencer = Sequencer(config)
        tokens = TokenBoard()
        queues = [UnitQueue(unit) for unit in Unit]
        load = LoadUnit(config)
        matrix = MatrixUnit(config)
        vector = VectorUnit(config, write_latency=Scratchpad.write_latency)
        store = StoreUnit(config)
        scratchpad = Scratchpad(config, readers=4 + config.row_words, writers=3)
        exponents = ExponentFile(config, readers=4)
        reserve = RESERVED_TILES * config.tile_bytes // config.memory_width
        reader = MemoryReader(
            config,
            depths=[fetch_beats, ROW_BEATS, WEIGHT_BEATS],
            reserves=[fetch_beats, 0, min(reserve, WEIGHT_BEATS // 2)],
        )
        writer = MemoryWriter(config)
        m.submodules.sequencer = fresh(sequencer)
        m.submodules.tokens = fresh(tokens)
        for unit, queue in zip(Unit, queues, strict=True):
            m.submodules[f"{unit.name.lower()}_queue"] = fresh(queue)
        m.submodules.load = fresh(load)
        m.submodules.matrix = fresh(matrix)
        m.submodules.vector = fresh(vector)
        m.submodules.store = fresh(store)
        m.submodules.scratchpad = fresh(scratchpad)
        m.submodules.exponents = fresh(exponents)
        m.submodules.reader = fresh(reader)
        m.submodules.writer = fresh(writer)

        # Instructions: from memory to the queues, from there to the units.
        connect(m, sequencer.requests, reader.requests[INSTRUCTIONS])
        connect(m, reader.data[INSTRUCTIONS], sequencer.data)
        connect(m, sequencer.prefetch, matrix.prefetch)
        for unit, executor in zip(Unit, (load, matrix, vector, store), strict=True):
            queue = queues[unit]
            connect(m, sequencer.units[unit], queue.i)
            connect(m, queue.tokens, tokens.ports[unit])
            connect(m, queue.o, executor.instruction)
            m.d.comb += queue.done.eq(executor.done)

        # Memory to the scratchpad, the parameters and the array, and back.
        connect(m, load.requests, reader.requests[ROWS])
        connect(m, reader.data[ROWS], load.data)
        connect(m, load.parameters, matrix.parameters)
        connect(m, load.table, matrix.table)
        if config.chaining:
            m.d.comb += matrix.loaded.eq(load.loaded)
        connect(m, matrix.weight_requests, reader.requests[WEIGHTS])
        connect(m, reader.data[WEIGHTS], matrix.weight_data)
        connect(m, store.requests, writer.requests)
        connect(m, store.data, writer.data)
        m.d.comb += store.writer_idle.eq(writer.idle)

        # The scratchpad and its users; the first ones go first.
        users = [*zip(matrix.requests, matrix.words, strict=True)]
        users += [(vector.requests, vector.words), (store.addresses, store.words)]
        for port, (requests, words) in enumerate(users):
            connect(m, requests, scratchpad.requests[port])
            connect(m, scratchpad.words[port], words)
        for port, writes in enumerate((matrix.writes, vector.writes, load.writes)):
            connect(m, writes, scratchpad.writes[port])
        connect(m, scratchpad.written, exponents.written)
        for user, read in zip(matrix.exponents, exponents.reads, strict=True):
            connect(m, user, read)

        self._connect_memory(m, reader, writer, registers)
        self._connect_control(m, registers, control, sequencer, queues, reader, writer)
        self._connect_counters(m, counters, registers, control, sequencer, queues, matrix)
        for name, beats in (("memory_reads", reader.beat), ("memory_writes", writer.beat)):
            m.d.comb += counters.events[name].eq(beats)
        self._connect_trace(m, control, queues, matrix, reader, writer)
        return m

    def _connect_memory(self, m: Module, reader, writer, registers) -> None:
        """Connect the AXI4 port, memory on the chip, an SDRAM, or a flash."""
        if self.config.memory == "axi4":
            connect_halves(m, reader.bus, writer.bus, self.m_axi)
            return
        if self.config.memory == "sdram":
            settings, round_trip = self.config.sdram_settings, self.config.sdram_round_trip
            memory = SDRAMMemory(self.config, settings, round_trip=round_trip)
            connect(m, memory.pins, flipped(self.sdram))
        elif self.config.memory == "flash":
            memory = FlashMemory(self.config)
            connect(m, memory.pins, flipped(self.flash))
        else:
            memory = OnChipMemory(self.config)
        m.submodules.memory = memory
        connect(m, reader.bus, memory.read)
        connect(m, writer.bus, memory.write)
        connect(m, registers.memory, memory.host)
        connect(m, memory.host_data, registers.memory_data)

    def _connect_control(self, m, registers, control, sequencer, queues, reader, writer) -> None:
        """Connect start, end and faults."""
        connect(m, flipped(self.s_axi_lite), registers.bus)
        connect(m, registers.argument, sequencer.argument)
        for name in ("busy", "done", "failed", "cause", "cause_address"):
            m.d.comb += getattr(registers, name).eq(getattr(control, name))
        for part in (reader, writer):
            m.d.comb += [
                part.window_base.eq(registers.window_base),
                part.window_size.eq(registers.window_size),
                part.stop.eq(control.stop),
            ]
        idle = [queue.idle for queue in queues]
        m.d.comb += [
            control.request.eq(registers.start),
            control.finished.eq(sequencer.done & reader.idle & writer.idle),
            control.quiet.eq(reader.quiet & writer.quiet),
            sequencer.start.eq(control.start),
            sequencer.stop.eq(control.stop),
            sequencer.program.eq(registers.program),
            sequencer.window_size.eq(registers.window_size),
            sequencer.units_idle.eq(idle[0] & idle[1] & idle[2] & idle[3]),
            self.interrupt.eq(~control.busy & (control.done | control.failed)),
        ]

        # The first cause counts; the address is that of the instruction at the unit.
        read_units = {INSTRUCTIONS: None, ROWS: Unit.LOAD, WEIGHTS: Unit.MATRIX}
        with m.If(sequencer.illegal):
            m.d.comb += [
                control.fault.eq(Cause.ILLEGAL_INSTRUCTION),
                control.fault_address.eq(sequencer.address),
            ]
        with m.Elif(reader.fault != 0):
            m.d.comb += control.fault.eq(reader.fault)
            with m.Switch(reader.fault_client):
                for client, unit in read_units.items():
                    address = sequencer.address if unit is None else queues[unit].oldest
                    with m.Case(client):
                        m.d.comb += control.fault_address.eq(address)
        with m.Else():
            m.d.comb += [
                control.fault.eq(writer.fault),
                control.fault_address.eq(queues[Unit.STORE].oldest),
            ]

    def _connect_counters(self, m, counters, registers, control, sequencer, queues, matrix) -> None:
        """Connect what is counted."""
        working = ~queues[Unit.MATRIX].idle
        events = {
            "cycles": 1,
            "instructions": sequencer.dispatched,
            "mac_rows": matrix.row,
            "saturations": matrix.saturations,
            "stall_weights": matrix.waits_tile,
            "stall_rows": Mux(working, matrix.waits_word, 0),
            "stall_accumulators": matrix.waits_bank,
        }
        for unit in Unit:
            events[f"{unit.name.lower()}_busy"] = ~queues[unit].idle
            events[f"{unit.name.lower()}_wait"] = queues[unit].waits
        for name, event in events.items():
            m.d.comb += counters.events[name].eq(event)
        m.d.comb += [counters.clear.eq(control.clear), counters.run.eq(control.busy)]
        connect(m, registers.counter, counters.read)

    def _connect_trace(self, m, control, queues, matrix, reader, writer) -> None:
        """Connect what simulations record."""
        m.submodules.trace_delay = trace = TraceDelay()
        connect(m, trace.o, flipped(self.trace))
        m.d.comb += [
            trace.i.busy.eq(control.busy & ~control.clear),  # as it is counted
            trace.i.starts.eq(Cat(queue.tokens.starts for queue in queues)),
            trace.i.ends.eq(Cat(queue.done for queue in queues)),
            trace.i.waits.eq(Cat(queue.waits for queue in queues)),
            trace.i.row.eq(matrix.row),
            trace.i.waits_tile.eq(matrix.waits_tile),
            trace.i.waits_bank.eq(matrix.waits_bank),
            trace.i.reads.eq(reader.beat),
            trace.i.writes.eq(writer.beat),
        ]
