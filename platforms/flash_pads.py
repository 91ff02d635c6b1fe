"""The pins of the flash that a board with an ECP5 has for its bitstream."""

from typing import Any, NamedTuple

from amaranth import Elaboratable, Instance, Module, ResetSignal
from amaranth.build import Attrs, Pins, PinsN, Resource, Subsignal
from amaranth.lib import io

from celosia.config import MachineConfig
from celosia.errors import ConfigError
from celosia.flash_part import MOST_MHZ

__all__ = ["FlashLines", "FlashPads", "check_flash"]

#: Room that the bitstream of the largest ECP5 needs, from address 0 on.
BITSTREAM_BYTES = 1 << 21


class FlashLines(NamedTuple):
    """Pins of a board's flash: its select, which is low when active, and its data lines.

    `parts` are the flashes that the board is sold with, by their names in
    `celosia.flash_part.FLASH_PARTS`.
    """

    cs: str
    dq: str
    parts: tuple[str, ...]


class FlashPads(Elaboratable):
    """Connects a machine's `FlashPins` to the flash of a board with an ECP5.

    The chip drives the flash's clock itself while it takes its bitstream, and afterwards what
    comes to the cell USRMCLK, which is not driven during a reset.

    Nothing is registered here. What is read is taken two cycles after the clock's fall: by then
    the edge must have passed the cell, its pin and the flash, and the data its pin and the fabric
    (7 + 3 + 8 + 2 + 8 ns at most), which leaves 5 ns at 60 MHz. It stays until after the clock's
    next fall, which is the edge that takes it. What is sent is there for a cycle before the clock
    rises and after it. The ways are estimates, the rest is from data sheets; nothing has been
    measured.

    Parameters
    ----------
    pins : FlashPins
        Of the machine.
    """

    def __init__(self, pins) -> None:
        self.pins = pins

    def elaborate(self, platform) -> Module:
        m = Module()
        pins, lines = self.pins, platform.flash
        platform.add_resources([
            Resource(
                "machine_flash",
                0,
                Subsignal("cs", PinsN(lines.cs, dir="o")),
                Subsignal("dq", Pins(lines.dq, dir="io", assert_width=4)),
                # Lines that nobody drives are not to hold the part.
                Attrs(PULLMODE="UP", DRIVE="4", IO_TYPE="LVCMOS33"),
            )
        ])
        pads = platform.request("machine_flash", dir={"cs": "-", "dq": "-"})
        m.submodules.cs = cs = io.Buffer(io.Direction.Output, pads.cs)
        m.submodules.dq = dq = io.Buffer(io.Direction.Bidir, pads.dq)
        m.d.comb += [
            cs.o.eq(pins.cs),
            dq.o.eq(pins.dq_o),
            dq.oe.eq(pins.dq_oe),
            pins.dq_i.eq(dq.i),
        ]
        m.submodules.clk = Instance(
            "USRMCLK", i_USRMCLKI=pins.clk, i_USRMCLKTS=ResetSignal(allow_reset_less=True)
        )
        return m


def check_flash(config: MachineConfig, board: Any, clock: float | None = None) -> None:
    """Check that a machine with flash suits a board's, at a clock of `clock` MHz if one is given.

    Raises
    ------
    ConfigError
        If it does not.
    """
    label = f"configuration {config.name!r}"
    if board.flash is None:
        raise ConfigError(
            f"{label}: board {board.name} has no flash that machines can use; set memory"
        )
    if config.flash_part not in board.flash.parts:
        raise ConfigError(
            f"{label}: flash_part must be one of {', '.join(board.flash.parts)} on board "
            f"{board.name}, not {config.flash_part!r}"
        )
    if config.flash_offset < BITSTREAM_BYTES:
        raise ConfigError(
            f"{label}: flash_offset must be at least {BITSTREAM_BYTES} on board {board.name}, "
            f"behind the bitstream, not {config.flash_offset}"
        )
    if clock is not None and clock > MOST_MHZ:
        raise ConfigError(
            f"{label}: with flash the clock must be at most {MOST_MHZ} MHz, not {clock:g}; ask for "
            "another frequency"
        )
