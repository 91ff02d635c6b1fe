# amaranth: UnusedElaboratable=no
"""Boards with an ECP5 that a host reaches through a serial line."""

from typing import Any

from amaranth import ClockDomain, Elaboratable, Module, Signal
from amaranth.lib import io
from amaranth.lib.wiring import connect

from celosia.errors import ConfigError
from celosia.platforms.ecp5 import ECP5Cells
from celosia.platforms.ecp5_pll import ECP5Clock, PLLSettings, solve_pll
from celosia.platforms.floorplan import MultiplierSites
from celosia.rtl.bridge import UARTBridge
from celosia.rtl.uart import baud_divisor

__all__ = ["BoardTop", "Die25", "Die45", "Die85", "ECP5Board"]


class BoardTop(Elaboratable):
    """A machine on a board: its clock, and the serial line to its registers and memory.

    A button resets the machine; of three LEDs the first shows that the machine is there, the second
    that the host sends, the third that the machine has ended a run.

    Parameters
    ----------
    machine : Component
        What to build, with a member `s_axi_lite : In(AXI4Lite())` and none that needs pins.
    settings : PLLSettings
        Clock of the machine.
    divisor : int
        Its cycles in one bit of the serial line.
    """

    def __init__(self, machine, settings: PLLSettings, divisor: int) -> None:
        self.machine = machine
        self.settings = settings
        self.divisor = divisor

    def elaborate(self, platform) -> Module:
        m = Module()
        m.domains.sync = ClockDomain()
        lines = {line.name: "-" for line in platform.lookup("uart").ios}
        uart = platform.request("uart", dir=lines)
        clock = platform.request(platform.default_clk, dir="-")
        m.submodules.clock_pin = clock_pin = io.Buffer(io.Direction.Input, clock)
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

        m.submodules.clock = ECP5Clock(self.settings, clock_pin.i, reset)
        m.submodules.bridge = bridge = UARTBridge(self.divisor)
        m.submodules.machine = machine = self.machine
        connect(m, bridge.bus, machine.s_axi_lite)
        m.d.comb += [
            bridge.rx.eq(rx.i),
            tx.o.eq(bridge.tx),
            leds[0].o.eq(1),
            leds[1].o.eq(~rx.i),
        ]
        if "interrupt" in machine.signature.members:
            m.d.comb += leds[2].o.eq(machine.interrupt)
        return m


class ECP5Board(ECP5Cells):
    """What all boards with an ECP5 share: a clock, a serial line, and perhaps a button and LEDs."""

    #: How the host reaches the machine, and the bits per second of that.
    host = "USB serial"
    baud = 1_000_000
    #: Clock of the board, and of the machine unless something else is asked for, in MHz.
    reference: float
    frequency = 40.0
    #: Memory beside the chip, of which no use is made yet.
    memory = "none"
    #: Resource and number of the button that resets the machine, if there is one.
    button: tuple[str, int] | None = None
    #: Bits of one block RAM.
    block_ram_bits = 18 * 1024

    #: Names of the board and its chip, and the chip's speed grade.
    name: str
    device: str
    speed: str
    #: What the chip has; the boards say it.
    luts: int
    flip_flops: int
    multipliers: int
    block_rams: int
    multiplier_sites: MultiplierSites

    def leds(self) -> list[Any]:
        """Request the ports of three LEDs, or of as many as there are."""
        return [self.request("led", index, dir="-") for index in range(3)]

    @property
    def required_tools(self) -> list[str]:
        """Only what builds; the board's own list has the loader."""
        return ["yosys", "nextpnr-ecp5", "ecppack"]

    def clocks(self, frequency: float) -> tuple[PLLSettings, int]:
        """Return how to make a clock of `frequency` MHz, and its cycles in one bit of the line.

        Raises
        ------
        ConfigError
            If the board's clock cannot make it, or it does not suit the line.
        """
        settings = solve_pll(self.reference, frequency)
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
        return BoardTop(machine, *self.clocks(frequency))


class Die25:
    """LFE5U-25F, and the 12F, which is the same die: the open tools use all of it."""

    luts = flip_flops = 24_288
    multipliers = 28
    block_rams = 56
    multiplier_sites = MultiplierSites((13,), (*range(4, 23, 9), *range(33, 61, 9)))


class Die45:
    """LFE5U-45F."""

    luts = flip_flops = 43_848
    multipliers = 72
    block_rams = 108
    multiplier_sites = MultiplierSites((22, 46), (*range(4, 32, 9), *range(42, 79, 9)))


class Die85:
    """LFE5U-85F."""

    luts = flip_flops = 83_640
    multipliers = 156
    block_rams = 208
    multiplier_sites = MultiplierSites((10, 34, 58), (*range(4, 59, 9), *range(69, 115, 9)))
