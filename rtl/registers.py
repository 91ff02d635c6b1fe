"""Registers of the host on AXI4-Lite, and its window into the machine's own memory."""

from collections import defaultdict

from amaranth import Cat, Module, Signal
from amaranth.hdl import ValueLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from celosia.config import MachineConfig
from celosia.isa import ARGUMENTS, COUNTERS, ID, MEMORY_WINDOW, REGISTERS, VERSION
from celosia.rtl.axi import AXI4Lite
from celosia.rtl.counters import CounterRead
from celosia.rtl.instruction_register import ArgumentWrite
from celosia.rtl.on_chip import HostAccess

__all__ = ["HostRegisters"]

#: AXI response to an access that had no effect.
SUBORDINATE_ERROR = 2
#: Where the argument registers are: bits of an address among them, and what lies above these.
_ARGUMENT_BITS = exact_log2(4 * ARGUMENTS)
_ARGUMENT_PAGE = REGISTERS["argument0"] >> _ARGUMENT_BITS
#: Word of the first counter; the others follow it.
_FIRST_COUNTER = REGISTERS[COUNTERS[0]] // 4


class HostRegisters(wiring.Component):
    """Answers one AXI4-Lite access at a time.

    Writes must be of whole words. A write to a register that cannot be written, or to any
    register but none of a busy machine, and any access to an address where there is nothing get
    an error response; so does reading an argument. Addresses from `isa.MEMORY_WINDOW` on are
    the machine's own memory, if there is any.

    Members
    -------
    bus : In(AXI4Lite())
        Host.
    memory, memory_data : Out(stream.Signature(HostAccess)), In(stream.Signature(32))
        Host port of that memory.
    start : Out(1)
        The host starts a run.
    program, window_base, window_size : Out(32)
        What it has written.
    argument : Out(ArgumentWrite())
        It writes an argument register.
    busy, done, failed, cause, cause_address : In
        State of the run.
    counter : Out(CounterRead())
        Counters.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "bus": In(AXI4Lite()),
            "memory": Out(stream.Signature(HostAccess)),
            "memory_data": In(stream.Signature(32)),
            "start": Out(1),
            "program": Out(32),
            "window_base": Out(32),
            # The stubs know only the old name of `init`.
            "window_size": Out(32, init=config.memory_bytes),  # pyright: ignore[reportCallIssue]
            "argument": Out(ArgumentWrite()),
            "busy": In(1),
            "done": In(1),
            "failed": In(1),
            "cause": In(3),
            "cause_address": In(32),
            "counter": Out(CounterRead()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        bus = self.bus
        address = Signal(32)
        word = Signal(32)
        whole = Signal()
        answer = Signal(32)
        known = Signal()
        in_memory = Signal()
        counts = Signal()  # it is the address of a counter
        m.d.comb += in_memory.eq(
            address[exact_log2(MEMORY_WINDOW)] & (self.config.memory != "axi4")
        )
        m.d.comb += [
            self.memory.p.address.eq(address[: exact_log2(MEMORY_WINDOW)]),
            self.memory.p.data.eq(word),
            self.argument.register.eq(address[2:_ARGUMENT_BITS]),
            self.argument.value.eq(word),
            counts.eq(
                ~address[:2].any()
                & (address[2:] >= _FIRST_COUNTER)
                & (address[2:] < _FIRST_COUNTER + len(COUNTERS))
            ),
            self.counter.index.eq(address[2:] - _FIRST_COUNTER),
        ]
        self._add_reads(m, address, answer, known)

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    bus.awready.eq(bus.awvalid & bus.wvalid),
                    bus.wready.eq(bus.awvalid & bus.wvalid),
                    bus.arready.eq(~(bus.awvalid & bus.wvalid)),
                ]
                m.d.sync += [word.eq(bus.wdata), whole.eq(bus.wstrb.all())]
                with m.If(bus.awready):
                    m.d.sync += address.eq(bus.awaddr)
                    m.next = "WRITE"
                with m.Elif(bus.arvalid):
                    m.d.sync += address.eq(bus.araddr)
                    m.next = "READ"

            with m.State("WRITE"):
                written = Signal()
                with m.If(whole & in_memory):
                    m.d.comb += [self.memory.valid.eq(1), self.memory.p.write.eq(1)]
                    with m.If(self.memory.ready):
                        m.d.sync += bus.bresp.eq(0)
                        m.next = "WRITTEN"
                with m.Else():
                    with m.If(whole & ~self.busy):
                        self._add_writes(m, address, word, written)
                    m.d.sync += bus.bresp.eq(~written << exact_log2(SUBORDINATE_ERROR))
                    m.next = "RESPOND"
            with m.State("WRITTEN"):
                m.d.comb += self.memory_data.ready.eq(1)
                with m.If(self.memory_data.valid):
                    m.next = "RESPOND"
            with m.State("RESPOND"):
                m.d.comb += bus.bvalid.eq(1)
                with m.If(bus.bready):
                    m.next = "IDLE"

            with m.State("READ"):
                with m.If(in_memory):
                    m.d.comb += self.memory.valid.eq(1)
                    with m.If(self.memory.ready):
                        m.next = "FETCHED"
                with m.Elif(counts):
                    m.next = "COUNTED"
                with m.Else():
                    m.next = "SELECTED"
            with m.State("COUNTED"):
                with m.If(self.counter.found):
                    m.d.sync += [bus.rdata.eq(self.counter.value), bus.rresp.eq(0)]
                    m.next = "ANSWER"
            with m.State("SELECTED"):
                m.d.sync += [
                    bus.rdata.eq(answer),
                    bus.rresp.eq(~known << exact_log2(SUBORDINATE_ERROR)),
                ]
                m.next = "ANSWER"
            with m.State("FETCHED"):
                m.d.comb += self.memory_data.ready.eq(1)
                with m.If(self.memory_data.valid):
                    m.d.sync += [bus.rdata.eq(self.memory_data.payload), bus.rresp.eq(0)]
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += bus.rvalid.eq(1)
                with m.If(bus.rready):
                    m.next = "IDLE"

        return m

    def _add_writes(self, m: Module, address: Signal, word: Signal, written: Signal) -> None:
        """Carry a write out; `written` says whether there is such a register."""
        with m.If((address[_ARGUMENT_BITS:] == _ARGUMENT_PAGE) & ~address[:2].any()):
            m.d.comb += [self.argument.valid.eq(1), written.eq(1)]
        with m.Switch(address):
            for name in ("program", "window_base", "window_size"):
                with m.Case(REGISTERS[name]):
                    m.d.sync += getattr(self, name).eq(word)
                    m.d.comb += written.eq(1)
            with m.Case(REGISTERS["control"]):
                m.d.comb += [self.start.eq(word[0]), written.eq(1)]

    def _add_reads(self, m: Module, address: Signal, answer: Signal, known: Signal) -> None:
        """Select the register that a read returns, the cycle after its address."""
        config = self.config
        status = Cat(self.busy, self.done, self.failed)
        values = {
            "id": ID,
            "version": VERSION,
            "digest": int.from_bytes(config.digest(), "little"),
            "geometry": config.rows | config.columns << 8 | config.memory_width << 16,
            "control": 0,
            "status": status,
            "cause": self.cause,
            "fault_address": self.cause_address,
            "program": self.program,
            "window_base": self.window_base,
            "window_size": self.window_size,
        }
        # One register of each group of eight, then that of the group.
        groups: dict[int, dict[int, ValueLike]] = defaultdict(dict)
        for name, value in values.items():
            group, place = divmod(REGISTERS[name] // 4, 8)
            groups[group][place] = value
        m.d.sync += known.eq(0)
        for group, members in groups.items():
            selected = Signal(32, name=f"selected_{group}", reset_less=True)
            with m.Switch(address[2:5]):
                for place, value in members.items():
                    with m.Case(place):
                        m.d.sync += selected.eq(value)
                        with m.If((address[5:] == group) & ~address[:2].any()):
                            m.d.sync += known.eq(1)
            with m.If(address[5:] == group):
                m.d.comb += answer.eq(selected)
