# amaranth: UnusedElaboratable=no
"""Boards of all families, which a host reaches through a serial line."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from amaranth import ClockDomain, ClockSignal, Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth.lib.wiring import connect

from celosia.config import MachineConfig
from celosia.errors import ConfigError
from celosia.platforms.flash_pads import FlashPads
from celosia.platforms.floorplan import MultiplierSites
from celosia.platforms.flow import Flow
from celosia.platforms.sdram_pads import SDRAMPads
from celosia.rtl.bridge import UARTBridge
from celosia.rtl.uart import baud_divisor

__all__ = ["Board", "BoardTop"]


class BoardTop(Elaboratable):
    """A machine on a board: its clock, and the serial line to its registers and memory.

    A button resets the machine; of three LEDs the first shows that the machine is there, the second
    that the host sends, the third that the machine has ended a run. A board may have fewer.

    Parameters
    ----------
    machine : Component
        What to build, with a member `s_axi_lite : In(AXI4Lite())`; of others only the pins of an
        SDRAM, `sdram`, and the port `m_axi` to a DDR3 are connected.
    settings : object
        Clock of the machine, as the board's `clocks` gives it.
    divisor : int
        Its cycles in one bit of the serial line.
    """

    def __init__(self, machine, settings: Any, divisor: int) -> None:
        self.machine = machine
        self.settings = settings
        self.divisor = divisor

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        lines = {line.name: "-" for line in platform.lookup("uart").ios}
        uart = platform.request("uart", dir=lines)
        clock = platform.request(platform.default_clk, dir="-")
        clock_pin = platform.clock_buffer(clock)
        if clock_pin is not None:
            m.submodules.clock_pin = clock_pin
        m.submodules.rx = rx = io.Buffer(io.Direction.Input, uart.rx)
        m.submodules.tx = tx = io.Buffer(io.Direction.Output, uart.tx)
        reset = Signal()
        if platform.button is not None:
            button = platform.request(*platform.button, dir="-")
            m.submodules.button = pressed = io.Buffer(io.Direction.Input, button)
            m.d.comb += reset.eq(pressed.i)
        leds = [io.Buffer(io.Direction.Output, port) for port in platform.leds()]
        for index, led in enumerate(leds):
            m.submodules[f"led_{index}"] = led

        source = clock if clock_pin is None else clock_pin.i
        m.submodules.clock = generator = platform.clock_generator(self.settings, source, reset)
        m.submodules.bridge = bridge = UARTBridge(self.divisor)
        m.submodules.machine = machine = self.machine
        if "m_axi" in machine.signature.members:  # the clock comes with the memory
            connect(m, bridge.bus, generator.bus)
            connect(m, generator.registers, machine.s_axi_lite)
            connect(m, machine.m_axi, generator.memory)
        else:
            connect(m, bridge.bus, machine.s_axi_lite)
        m.d.comb += [bridge.rx.eq(rx.i), tx.o.eq(bridge.tx)]
        signs = [1, ~rx.i]
        if "interrupt" in machine.signature.members:
            signs.append(machine.interrupt)
        m.d.comb += [led.o.eq(sign) for led, sign in zip(leds, signs, strict=False)]
        if "flash" in machine.signature.members:
            m.submodules.flash = FlashPads(machine.flash)
        if "sdram" in machine.signature.members:
            m.domains.late = ClockDomain(reset_less=True)
            m.d.comb += ClockSignal("late").eq(generator.late())
            m.submodules.sdram = SDRAMPads(machine.sdram)
        return m


class Board:
    """What all boards share: a clock, a serial line, and perhaps a button and LEDs.

    A family adds the hooks for its cells, its `flow` and its clock generator; a board its name,
    its clock and its pins.
    """

    #: How the host reaches the machine, and the bits per second of that.
    host = "USB serial"
    baud = 1_000_000
    #: Clock of the board, and of the machine unless something else is asked for, in MHz.
    reference: float
    frequency: float
    #: Memory beside the chip, and the SDRAM in it that machines can use, if there is one.
    memory = "none"
    sdram_part: str | None = None
    #: The flash for the bitstream, if machines can use it: `FlashLines`.
    flash: Any = None
    #: The DDR3 that machines with an AXI4 port can use; see `DDR3Board`.
    ddr3: Any = None
    #: Resource and number of the button that resets the machine, if there is one.
    button: tuple[str, int] | None = None
    #: Options by which openFPGALoader knows the board.
    loader: Sequence[str] = ()

    #: Names of the board and its chip, and the chip's speed grade.
    name: str
    device: str
    speed: str
    #: What the chip has; the boards say it.
    luts: int
    flip_flops: int
    multipliers: int
    block_rams: int
    #: Elements of an array that one multiplier is enough for.
    array_multipliers = 1
    #: Where the chip has its multipliers, if arrays are to be placed by that.
    multiplier_sites: MultiplierSites | None = None
    #: The tools.
    flow: ClassVar[Flow]

    def leds(self) -> list[Any]:
        """Request the ports of three LEDs, or of as many as there are."""
        return [self.request("led", index, dir="-") for index in range(3)]

    @property
    def required_tools(self) -> list[str]:
        """Only what builds; a board's own list may have the loader."""
        return list(self.flow.tools)

    def solve_clock(self, frequency: float) -> Any:
        """Return how the chip makes a clock of `frequency` MHz; its `output` is what it makes.

        Raises
        ------
        ConfigError
            If it cannot.
        """
        raise NotImplementedError

    def solve_memory_clock(self, frequency: float, config: MachineConfig) -> Any:
        """Return how the board's memory makes the clock of a machine with an AXI4 port."""
        raise NotImplementedError

    def clock_buffer(self, port: Any) -> io.Buffer | None:
        """Return the input buffer of the board's clock, None if the generator takes the pin."""
        return io.Buffer(io.Direction.Input, port)

    def clock_generator(self, settings: Any, clock: Any, reset: Signal) -> Elaboratable:
        """Return the circuit that drives clock and reset of the domain `sync`."""
        raise NotImplementedError

    def prepare_netlist(
        self, netlist: dict[str, Any], *, top: str, progress: Callable[[str], None]
    ) -> bool:
        """Change a netlist of yosys before it is placed; say whether anything was changed."""
        return False

    def clocks(self, frequency: float, config: MachineConfig | None = None) -> tuple[Any, int]:
        """Return how to make a clock of `frequency` MHz, and its cycles in one bit of the line.

        With `config` it is that of a machine, whose memory may have a say in it.

        Raises
        ------
        ConfigError
            If the board's clock cannot make it, or it does not suit the line.
        """
        if config is not None and config.memory == "axi4":
            settings = self.solve_memory_clock(frequency, config)
        else:
            settings = self.solve_clock(frequency)
        try:
            return settings, baud_divisor(1e6 * settings.output, self.baud)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def top(self, machine, frequency: float) -> BoardTop:
        """Return `machine` on this board, at `frequency` MHz.

        Raises
        ------
        ConfigError
            As `clocks` does.
        """
        config = machine.config if "m_axi" in machine.signature.members else None
        return BoardTop(machine, *self.clocks(frequency, config))
