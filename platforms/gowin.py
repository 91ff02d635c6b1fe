"""Gowin GW1N and GW2A: their multipliers, their tools, and what their boards share."""

from typing import ClassVar

from amaranth import ClockSignal, Instance, Module, Signal
from amaranth.vendor import GowinPlatform

from celosia.cores.multiply import Multiplier
from celosia.platforms.board import Board
from celosia.platforms.flow import Flow
from celosia.platforms.gowin_pll import GowinClock, PLLLimits, PLLSettings, solve_pll

__all__ = ["GW1NR9", "GW2AR18", "GowinBoard", "GowinCells"]

#: Widths of the multipliers.
_WIDTHS = (9, 18)
_PLACED = {
    # A carry takes a LUT, a distributed RAM four.
    "luts": ("LUT4", "ALU", *4 * ("RAM16SDP4",)),
    "flip_flops": ("DFF",),
    "multipliers": ("MULT18X18", "MULT9X9"),
    "block_rams": ("BSRAM",),
}


class GowinCells:
    """Platform hooks that build components from Gowin's cells."""

    def get_multiplier(self, multiplier: Multiplier) -> Module:
        """Build `multiplier` from one MULT9X9 or MULT18X18.

        All registers are inside but that of the operand that can be held: a cell has one enable.

        Raises
        ------
        ValueError
            If an operand is wider than 18 bits.
        """
        needed = max(multiplier.a_width, multiplier.b_width)
        if needed > _WIDTHS[-1]:
            raise ValueError(f"Gowin multiplier operands must be at most 18 bits, not {needed}")
        width = next(width for width in _WIDTHS if width >= needed)

        m = Module()
        held = Signal.like(multiplier.b, reset_less=True)
        with m.If(multiplier.b_enable):
            m.d.sync += held.eq(multiplier.b)
        a, b, product = Signal(width), Signal(width), Signal(2 * width)
        m.d.comb += [a.eq(multiplier.a), b.eq(held), multiplier.product.eq(product)]
        m.submodules.cell = Instance(
            f"MULT{width}X{width}",
            p_AREG=1,
            p_BREG=0,
            p_PIPE_REG=1,
            p_OUT_REG=1,
            p_ASIGN_REG=0,
            p_BSIGN_REG=0,
            p_SOA_REG=0,
            p_MULT_RESET_MODE="SYNC",
            i_CLK=ClockSignal(),
            i_CE=1,
            i_RESET=0,
            i_A=a,
            i_B=b,
            i_ASIGN=1,
            i_BSIGN=1,
            i_ASEL=0,
            i_BSEL=0,
            i_SIA=0,
            i_SIB=0,
            o_DOUT=product,
        )
        return m


class GowinBoard(GowinCells, Board):
    """What all boards with a chip of Gowin share: the successor of the router that Amaranth calls.

    Comes before the class of the pins.
    """

    #: A multiplier of 18 bits is two of 9.
    array_multipliers = 2
    #: Name of the chip without memory in its package, which the open tools know.
    chip: str
    #: Its PLL: the name of the device in its parameters, and what it can do.
    pll_device: str
    pll_limits: PLLLimits
    flow: ClassVar[Flow]

    _apicula_required_tools: ClassVar = ["yosys", "nextpnr-himbaechel-gowin", "gowin_pack"]
    _apicula_command_templates: ClassVar = [
        GowinPlatform._apicula_command_templates[0],
        r"""
        {{invoke_tool("nextpnr-himbaechel-gowin")}}
            {{quiet("--quiet")}}
            {{get_override("nextpnr_opts")|options}}
            --log {{name}}.tim
            --device {{platform.part}}
            --vopt family={{platform.chip}}
            --vopt cst={{name}}.cst
            --json {{name}}.syn.json
            --write {{name}}.pnr.json
        """,
        r"""
        {{invoke_tool("gowin_pack")}}
            -d {{platform.chip}}
            -o {{name}}.fs
            {{get_override("gowin_pack_opts")|options}}
            {{name}}.pnr.json
        """,
    ]

    def solve_clock(self, frequency: float) -> PLLSettings:
        """Return the settings of an rPLL."""
        return solve_pll(self.reference, frequency, self.pll_limits)

    def clock_generator(self, settings: PLLSettings, clock: Signal, reset: Signal) -> GowinClock:
        """Return an rPLL."""
        return GowinClock(settings, self.pll_device, clock, reset)


def _flow(family: str) -> Flow:
    return Flow(
        router="nextpnr-himbaechel-gowin",
        packer="gowin_pack",
        netlist="syn.json",
        constraints="cst",
        routed="pnr.json",
        bitstream="fs",
        derives_clock=False,
        overrides={"synth_opts": f"-family {family}"},
        counted=("LUT", "FF", "MULT18X18", "MULT9X9", "BSRAM", "LUT4", "ALU", "RAM16X4"),
        placed=_PLACED,
    )


class GW1NR9:
    """GW1NR-9 of speed C6/I5."""

    device, speed = "GW1NR-9C", "C6/I5"
    luts, flip_flops = 8_640, 6_480
    multipliers = 20
    block_rams = 26
    chip = "GW1N-9C"
    pll_device = "GW1NR-9C"
    pll_limits = PLLLimits(detector=(3, 400), oscillator=(400, 1200), output=(3.125, 600))
    flow = _flow("gw1n")


class GW2AR18:
    """GW2AR-18 of speed C8/I7."""

    device, speed = "GW2AR-18C", "C8/I7"
    luts, flip_flops = 20_736, 15_552
    multipliers = 48
    block_rams = 46
    chip = "GW2A-18C"
    pll_device = "GW2AR-18C"
    pll_limits = PLLLimits(detector=(3, 500), oscillator=(500, 1250), output=(3.90625, 625))
    flow = _flow("gw2a")
