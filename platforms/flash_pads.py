"""The pins of the flash that a board has for its bitstream."""

from typing import Any, NamedTuple

from amaranth import Elaboratable, Instance, Module, ResetSignal
from amaranth.build import Attrs, Pins, PinsN, Resource, Subsignal
from amaranth.lib import io

from celosia.config import MachineConfig
from celosia.errors import ConfigError
from celosia.flash_part import MOST_MHZ

__all__ = ["FlashLines", "FlashPads", "check_flash"]


class FlashLines(NamedTuple):
    """Pins of a board's flash: its select, which is low when active, and its data lines.

    Attributes
    ----------
    cs, dq : str
        The pins.
    parts : tuple of str
        The flashes that the board is sold with, by their names in
        `celosia.flash_part.FLASH_PARTS`.
    bitstream_bytes : int
        Room that the bitstream needs, from address 0 on.
    attributes : dict
        Of the pins. Lines that nobody drives are not to hold the part.
    clk : str, optional
        Pin of the clock; by default the cell USRMCLK of an ECP5 drives it.
    """

    cs: str
    dq: str
    parts: tuple[str, ...]
    bitstream_bytes: int
    attributes: dict[str, str | int]
    clk: str | None = None


class FlashPads(Elaboratable):
    """Connects a machine's `FlashPins` to the flash of a board.

    An ECP5 drives the flash's clock itself while it takes its bitstream, and afterwards what
    comes to the cell USRMCLK, which is not driven during a reset; of an iCE40 all are plain pins.

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
        subsignals = {
            "cs": PinsN(lines.cs, dir="o"),
            "dq": Pins(lines.dq, dir="io", assert_width=4),
        }
        if lines.clk is not None:
            subsignals["clk"] = Pins(lines.clk, dir="o")
        parts = (Subsignal(name, pins) for name, pins in subsignals.items())
        platform.add_resources([Resource("machine_flash", 0, *parts, Attrs(**lines.attributes))])
        pads = platform.request("machine_flash", dir=dict.fromkeys(subsignals, "-"))
        m.submodules.cs = cs = io.Buffer(io.Direction.Output, pads.cs)
        m.submodules.dq = dq = io.Buffer(io.Direction.Bidir, pads.dq)
        m.d.comb += [
            cs.o.eq(pins.cs),
            dq.o.eq(pins.dq_o),
            dq.oe.eq(pins.dq_oe),
            pins.dq_i.eq(dq.i),
        ]
        if lines.clk is None:
            m.submodules.clk = Instance(
                "USRMCLK", i_USRMCLKI=pins.clk, i_USRMCLKTS=ResetSignal(allow_reset_less=True)
            )
        else:
            m.submodules.clk = clk = io.Buffer(io.Direction.Output, pads.clk)
            m.d.comb += clk.o.eq(pins.clk)
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
    if config.flash_offset < board.flash.bitstream_bytes:
        raise ConfigError(
            f"{label}: flash_offset must be at least {board.flash.bitstream_bytes} on board "
            f"{board.name}, behind the bitstream, not {config.flash_offset}"
        )
    if clock is not None and clock > MOST_MHZ:
        raise ConfigError(
            f"{label}: with flash the clock must be at most {MOST_MHZ} MHz, not {clock:g}; ask for "
            "another frequency"
        )
