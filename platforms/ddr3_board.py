# amaranth: UnusedElaboratable=no
"""Boards with an ECP5 and a DDR3, behind a controller that LiteDRAM generates."""

from collections.abc import Sequence
from typing import Any

from amaranth import Cat, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.platforms.ecp5_board import ECP5Board
from celosia.platforms.litedram import CORE, LINE_BYTES, DDR3Part, generate_core
from celosia.platforms.litedram_files import DDR3Core
from celosia.rtl.axi import AXI4, AXI4Lines, AXI4Lite
from celosia.rtl.axi_widen import AXI4Widener
from celosia.rtl.host_ports import HostPorts

__all__ = ["DDR3Board", "DDR3Memory", "DDR3OnBoard"]

#: Pins of a DDR3 that the core drives: their names in the board's resource and at the core, and
#: what pins get for which the core has no bit: those of a second rank, which stays unused, and of
#: rows that the part does not have.
_DRIVEN = {
    "rst": ("reset_n", 0),
    "clk": ("clk_p", 0),
    "clk_en": ("cke", 0),
    "cs": ("cs_n", 1),
    "we": ("we_n", 1),
    "ras": ("ras_n", 1),
    "cas": ("cas_n", 1),
    "a": ("a", 0),
    "ba": ("ba", 0),
    "dm": ("dm", 0),
    "odt": ("odt", 0),
}


class DDR3Memory(wiring.Component):
    """A machine's memory at its AXI4 port, and the host's way to it and to the machine.

    Before a host has woken the DDR3 (`celosia.runtime.ddr3`) the machine's port takes nothing.

    Parameters
    ----------
    core : DDR3Core
        The controller.
    connections
        Ports of its instance beside those of machine and host.

    Members
    -------
    memory : In(AXI4(core.config))
        What the machine reads and writes; addresses beyond the end begin again at 0.
    bus : In(AXI4Lite())
        The host; see `HostPorts`.
    registers : Out(AXI4Lite())
        The machine's registers.
    """

    def __init__(self, core: DDR3Core, **connections: Any) -> None:
        self.core = core
        self.connections = connections
        super().__init__({
            "memory": In(AXI4(core.config)),
            "bus": In(AXI4Lite()),
            "registers": Out(AXI4Lite()),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        known = self.core.description
        m.submodules.host = host = HostPorts(known.size_bits, LINE_BYTES, known.words())
        connect(m, flipped(self.bus), host.bus)
        connect(m, host.machine, flipped(self.registers))
        ports = _ports("wb_ctrl", host.control.signature, host.control)
        ports |= _ports("user_port_host", host.memory.signature, host.memory)
        m.submodules.widener = widener = AXI4Widener(self.core.config, LINE_BYTES)
        connect(m, flipped(self.memory), widener.narrow)
        ports |= _ports("user_port_machine", AXI4Lines(LINE_BYTES), widener.wide)
        for channel in ("ar", "aw"):
            name = f"i_user_port_machine_{channel}"
            ports[f"{name}addr"] = ports[f"{name}addr"][: known.size_bits]
            ports[f"{name}size"] = Cat(ports[f"{name}size"], Const(0, 1))
        ports |= {"i_wb_ctrl_cti": Const(0, 3), "i_wb_ctrl_bte": Const(0, 2)}
        m.submodules.core = Instance(
            CORE, **ports, o_init_done=host.ready, **self._connect(m, platform)
        )
        return m

    def _connect(self, m: Module, platform: Any) -> dict[str, Any]:
        """Return the ports of the core's instance beside those of machine and host."""
        return self.connections


def _ports(prefix: str, signature: wiring.Signature, port: Any) -> dict[str, Any]:
    """Return the ports of an instance that is the subordinate of `port`."""
    return {
        f"{'i' if member.flow is Out else 'o'}_{prefix}_{name}": getattr(port, name)
        for name, member in signature.members.items()
    }


class DDR3OnBoard(DDR3Memory):
    """The same at the pins of a board; it makes clock and reset of the domain `sync`, too.

    Parameters
    ----------
    core : DDR3Core
        The controller.
    clock : Value
        The board's clock.
    reset : Signal
        Holds everything in reset, of any clock.
    """

    def __init__(self, core: DDR3Core, clock: Any, reset: Signal) -> None:
        super().__init__(core)
        self.clock = clock
        self.reset = reset

    def _connect(self, m: Module, platform: Any) -> dict[str, Any]:
        # Until synthesis finds its memories they are read by logic: they are not among those that
        # `REMOVE_COLLISION_LOGIC` is for.
        platform.add_file(f"{CORE}.v", self.core.verilog)
        user_clock, user_reset = Signal(), Signal()
        m.d.comb += [ClockSignal().eq(user_clock), ResetSignal().eq(user_reset)]
        pads = platform.request("ddr3", dir="-")
        there = {line.name for line in platform.lookup("ddr3").ios}
        ports = {
            "i_clk": self.clock,
            "i_rst": self.reset,
            "o_user_clk": user_clock,
            "o_user_rst": user_reset,
            "io_ddram_dq": pads.dq.io,
            "io_ddram_dqs_p": pads.dqs.p,
        }
        for name, (pin, rest) in _DRIVEN.items():
            if name not in there:
                continue
            port = getattr(pads, name)
            if isinstance(port, io.SingleEndedPort):  # the core's levels are those of the pins
                port = io.SingleEndedPort(port.io, direction=io.Direction.Output)
            driven = Signal(self.core.pins[pin], name=pin)
            ports[f"o_ddram_{pin}"] = driven
            m.submodules[name] = pad = io.Buffer(io.Direction.Output, port)
            m.d.comb += pad.o.eq(Cat(driven, Const(rest, 1).replicate(len(port) - len(driven))))
        for name in platform.ddr3_idle:
            pads = platform.request(name, dir="-")
            for line in platform.lookup(name).ios:
                port = getattr(pads, line.name)
                m.submodules[line.name] = io.Buffer(io.Direction.Output, port)
        return ports


class DDR3Board(ECP5Board):
    """What all boards with an ECP5 and a DDR3 share: machines with an AXI4 port may use it."""

    #: The DDR3, and resources of the board whose pins are to have their idle level with it.
    ddr3: DDR3Part
    ddr3_idle: Sequence[str] = ()

    def solve_memory_clock(self, frequency: float, config: MachineConfig) -> DDR3Core:
        """Return the core that makes the clock of a machine whose memory is the DDR3."""
        return generate_core(
            self.ddr3,
            config,
            device=f"{self.device}-{self.speed}{self.package}{self.grade}",
            reference=self.reference,
            frequency=frequency,
        )

    def clock_generator(self, settings: Any, clock: Any, reset: Signal) -> Any:
        """Return an EHXPLLL, or the DDR3's controller, which has one."""
        if isinstance(settings, DDR3Core):
            return DDR3OnBoard(settings, clock, reset)
        return super().clock_generator(settings, clock, reset)
