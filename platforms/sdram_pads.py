"""The pins of a board's SDRAM: a register at each of them, and the SDRAM's clock."""

from typing import Any

from amaranth import Elaboratable, Module
from amaranth.lib import io

from celosia.config import MachineConfig
from celosia.errors import ConfigError

__all__ = ["SDRAMPads", "check_sdram"]

#: Cycles that these pins add to the CAS latency: one in the registers on the way out, three
#: quarters of one to the SDRAM's edge, and one and a quarter back from its edge.
ROUND_TRIP = 2
#: Clocks at which a word is there when these registers take it; see `SDRAMPads`.
CLOCKS_MHZ = (50, 100)


class SDRAMPads(Elaboratable):
    """Connects a machine's `SDRAMPins` to the resource `sdram` of a board with an ECP5.

    All signals leave from registers at the pins, so none is late by its way through the fabric,
    and what comes back is taken by such registers. The SDRAM's clock is that of the domain `late`,
    three quarters of a cycle behind `sync`; an output register of double data rate, high and then
    low, sends it the same way as the others. So commands and data are there three quarters of a
    cycle before the SDRAM's edge and stay for a quarter after it, however slow the pins are.

    A word that is read is taken a cycle and a quarter after the SDRAM's edge. It comes after the
    clock's way to the SDRAM, the access time and its own way back (4 + 6 + 2 ns at most), and
    stays for a cycle, the SDRAM's hold time and the two ways (2 + 2.5 + 0.8 ns at least) longer.
    Half a cycle late the SDRAM's clock would leave too little of the one or of the other at 75
    MHz. The ways are estimates, the rest is from data sheets; nothing has been measured.

    Parameters
    ----------
    pins : SDRAMPins
        Of the machine.
    """

    def __init__(self, pins) -> None:
        self.pins = pins

    def elaborate(self, platform) -> Module:
        m = Module()
        pins = self.pins
        names = ("clk", "clk_en", "cs", "ras", "cas", "we", "ba", "a", "dqm", "dq")
        pads = platform.request("sdram", dir=dict.fromkeys(names, "-"))

        m.submodules.clk = clk = io.DDRBuffer(io.Direction.Output, pads.clk, o_domain="late")
        m.d.comb += [clk.o[0].eq(1), clk.o[1].eq(0)]
        for name in names[1:-1]:
            m.submodules[name] = pad = io.FFBuffer(io.Direction.Output, getattr(pads, name))
            m.d.comb += pad.o.eq(getattr(pins, name))
        m.submodules.dq = dq = io.FFBuffer(io.Direction.Bidir, pads.dq)
        m.d.comb += [dq.o.eq(pins.dq_o), dq.oe.eq(pins.dq_oe), pins.dq_i.eq(dq.i)]
        return m


def check_sdram(config: MachineConfig, board: Any, clock: float | None = None) -> None:
    """Check that a machine with SDRAM suits a board's, at a clock of `clock` MHz if one is given.

    Raises
    ------
    ConfigError
        If it does not.
    """
    label = f"configuration {config.name!r}"
    if config.sdram_part != board.sdram_part:
        raise ConfigError(
            f"{label}: sdram_part must be {board.sdram_part!r} on board {board.name}, not "
            f"{config.sdram_part!r}"
            if board.sdram_part
            else f"{label}: board {board.name} has no SDRAM that machines can use; set memory"
        )
    if config.sdram_round_trip != ROUND_TRIP:
        raise ConfigError(
            f"{label}: sdram_round_trip must be {ROUND_TRIP} with the pins of board {board.name}, "
            f"not {config.sdram_round_trip}"
        )
    slowest, fastest = CLOCKS_MHZ
    if not slowest <= config.sdram_mhz <= fastest:
        raise ConfigError(
            f"{label}: sdram_mhz must be between {slowest} and {fastest} with the pins of board "
            f"{board.name}, not {config.sdram_mhz}"
        )
    # A slower clock would refresh the part too seldom.
    if clock is not None and abs(clock - config.sdram_mhz) > 1e-6:
        raise ConfigError(
            f"{label}: its SDRAM is timed for a clock of {config.sdram_mhz} MHz, not {clock:g}; "
            "change sdram_mhz or ask for that frequency"
        )
