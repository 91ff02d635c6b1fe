# amaranth: UnusedElaboratable=no
"""A board with a DDR3 in simulation: machine, bridge, and LiteDRAM's controller with its models."""

from amaranth import ClockSignal, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect
from board import DIVISOR, Board
from harness import CACHE, emit
from test_link_noise import TOP

from celosia.platforms.ddr3_board import DDR3Memory
from celosia.platforms.litedram import simulated_core
from celosia.rtl.bridge import UARTBridge
from celosia.rtl.top import Accelerator
from celosia.runtime.verilator import build_simulation

__all__ = ["MHZ", "PART", "DDR3SimBoard"]

#: The part, and the clock for which its controller is made, in MHz.
PART, MHZ = "MT41K64M16", 75


class DDR3Pins(wiring.Component):
    """A machine, its memory, and the bridge to both."""

    rx: In(1, init=1)
    tx: Out(1, init=1)

    def __init__(self, core):
        self.core = core
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge = bridge = UARTBridge(DIVISOR)
        m.submodules.machine = machine = Accelerator(self.core.config)
        m.submodules.memory = memory = DDR3Memory(self.core, i_clk=ClockSignal(), i_sim_trace=0)
        connect(m, bridge.bus, memory.bus)
        connect(m, memory.registers, machine.s_axi_lite)
        connect(m, machine.m_axi, memory.memory)
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        return m


class DDR3SimBoard(Board):
    """The simulation in a thread, as long as the context lasts; see `board.Board`."""

    def _simulation(self, config, folder):
        core = simulated_core(PART, config, frequency=MHZ)
        top = folder / "serial_top.v"
        top.write_text(f"`define DIVISOR {DIVISOR}\n{TOP.read_text()}")
        controller = folder / "litedram.v"
        controller.write_text(core.verilog)
        sources = [emit(DDR3Pins(core), folder / "top.v"), controller]
        return build_simulation(top, "serial_top", CACHE, extra_sources=sources, timing=True)
