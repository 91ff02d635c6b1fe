"""A machine of one processor and four multipliers, for chips that are too small for an array."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.rtl.axi import AXI4Lite
from celosia.rtl.control import RunControl
from celosia.rtl.flash import FlashPins
from celosia.rtl.micro_core import MicroCore
from celosia.rtl.micro_memory import MicroMemory
from celosia.rtl.micro_program import microprogram
from celosia.rtl.registers import HostRegisters
from celosia.rtl.trace import Trace

__all__ = ["MicroAccelerator"]


class MicroAccelerator(wiring.Component):
    """A machine that takes its program an instruction after the other, by a microprogram.

    To host and program it is an `Accelerator` of the same configuration: registers, instructions,
    results to the last bit. Tokens are not waited for, since there is nothing beside an
    instruction; counters of waiting and of stalls stay 0. After a reset it clears all its memory,
    and answers the host from then on.

    Parameters
    ----------
    config : MachineConfig
        With the engine "micro".

    Members
    -------
    As those of `Accelerator`; `trace` shows no more than whether a run is under way.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        self.microprogram = microprogram(config)
        ports = {"s_axi_lite": In(AXI4Lite()), "interrupt": Out(1), "trace": Out(Trace())}
        if config.memory == "flash":
            ports["flash"] = Out(FlashPins())
        super().__init__(ports)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.registers = registers = HostRegisters(self.config)
        m.submodules.control = control = RunControl()
        m.submodules.core = core = MicroCore(self.microprogram)
        m.submodules.memory = memory = MicroMemory(self.config)

        connect(m, core.requests, memory.requests)
        connect(m, memory.beats, core.beats)
        connect(m, registers.memory, memory.host)
        connect(m, memory.host_data, registers.memory_data)
        connect(m, registers.argument, core.argument)
        connect(m, registers.counter, core.counter)
        if self.config.memory == "flash":
            connect(m, memory.pins, flipped(self.flash))

        # The host is answered as soon as the memory has been cleared.
        connect(m, flipped(self.s_axi_lite), registers.bus)
        bus = self.s_axi_lite
        with m.If(~core.ready):
            for name in ("awvalid", "wvalid", "arvalid"):
                m.d.comb += getattr(registers.bus, name).eq(0)
            for name in ("awready", "wready", "arready"):
                m.d.comb += getattr(bus, name).eq(0)

        for name in ("program", "window_base", "window_size"):
            m.d.comb += getattr(core, name).eq(getattr(registers, name))
        for name in ("busy", "done", "failed", "cause", "cause_address"):
            m.d.comb += getattr(registers, name).eq(getattr(control, name))
        m.d.comb += [
            control.request.eq(registers.start),
            control.quiet.eq(1),
            control.finished.eq(core.finished),
            control.fault.eq(core.fault),
            control.fault_address.eq(core.fault_address),
            core.start.eq(control.start),
            self.interrupt.eq(~control.busy & (control.done | control.failed)),
            self.trace.busy.eq(control.busy & ~control.clear),
        ]
        return m
