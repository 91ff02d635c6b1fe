# amaranth: UnusedElaboratable=no
"""ULX3S: an ECP5 with a USB serial line, in four sizes."""

from amaranth import ClockDomain, Elaboratable, Module
from amaranth.lib import io
from amaranth.lib.wiring import connect
from amaranth_boards.ulx3s import (
    ULX3S_12F_Platform,
    ULX3S_25F_Platform,
    ULX3S_45F_Platform,
    ULX3S_85F_Platform,
)

from celosia.errors import ConfigError
from celosia.platforms.ecp5 import ECP5Cells
from celosia.platforms.ecp5_pll import ECP5Clock, PLLSettings, solve_pll
from celosia.platforms.floorplan import MultiplierSites
from celosia.rtl.bridge import UARTBridge
from celosia.rtl.uart import baud_divisor

__all__ = ["ULX3S12F", "ULX3S25F", "ULX3S45F", "ULX3S85F", "BoardTop", "ULX3SBoard"]

#: The 12F and the 25F are one die.
_SITES_25 = MultiplierSites((13,), (*range(4, 23, 9), *range(33, 61, 9)))


class BoardTop(Elaboratable):
    """A machine on a board: its clock, and the serial line to its registers and memory.

    Button 1 (fire 1) resets the machine; the first three LEDs show that the machine is there, that
    the host sends, and that the machine has ended a run.

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
        uart = platform.request("uart", dir={"rx": "-", "tx": "-", "rts": "-", "dtr": "-"})
        clock = platform.request(platform.default_clk, dir="-")
        button = platform.request("button_fire", 0, dir="-")
        m.submodules.clock_pin = clock_pin = io.Buffer(io.Direction.Input, clock)
        m.submodules.button = button = io.Buffer(io.Direction.Input, button)
        m.submodules.rx = rx = io.Buffer(io.Direction.Input, uart.rx)
        m.submodules.tx = tx = io.Buffer(io.Direction.Output, uart.tx)
        leds = [
            io.Buffer(io.Direction.Output, platform.request("led", index, dir="-"))
            for index in range(3)
        ]
        for index, led in enumerate(leds):
            m.submodules[f"led_{index}"] = led

        m.submodules.clock = ECP5Clock(self.settings, clock_pin.i, button.i)
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


class ULX3SBoard(ECP5Cells):
    """What all sizes of the board share."""

    #: How the host reaches the machine, and the bits per second of that.
    host = "USB serial"
    baud = 1_000_000
    #: Clock of the board, and of the machine unless something else is asked for, in MHz.
    reference = 25.0
    frequency = 40.0
    #: Bits of one block RAM.
    block_ram_bits = 18 * 1024

    #: What the chip has; the sizes of the board say it.
    luts: int
    flip_flops: int
    multipliers: int
    block_rams: int
    multiplier_sites: MultiplierSites

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


class ULX3S12F(ULX3SBoard, ULX3S_12F_Platform):
    """LFE5U-12F: the die of the 25F, and the open tools use all of it."""

    name = "ulx3s-12f"
    luts = flip_flops = 24_288
    multipliers = 28
    block_rams = 56
    multiplier_sites = _SITES_25


class ULX3S25F(ULX3SBoard, ULX3S_25F_Platform):
    """LFE5U-25F."""

    name = "ulx3s-25f"
    luts = flip_flops = 24_288
    multipliers = 28
    block_rams = 56
    multiplier_sites = _SITES_25


class ULX3S45F(ULX3SBoard, ULX3S_45F_Platform):
    """LFE5U-45F."""

    name = "ulx3s-45f"
    luts = flip_flops = 43_848
    multipliers = 72
    block_rams = 108
    multiplier_sites = MultiplierSites((22, 46), (*range(4, 32, 9), *range(42, 79, 9)))


class ULX3S85F(ULX3SBoard, ULX3S_85F_Platform):
    """LFE5U-85F."""

    name = "ulx3s-85f"
    luts = flip_flops = 83_640
    multipliers = 156
    block_rams = 208
    multiplier_sites = MultiplierSites((10, 34, 58), (*range(4, 59, 9), *range(69, 115, 9)))
