"""Lattice iCE40 UltraPlus: its multiplier, its tools, and what its boards share."""

from typing import Any

from amaranth import Cat, ClockSignal, Instance, Module, Signal
from amaranth.hdl import Elaboratable
from amaranth.utils import exact_log2

from celosia.cores.multiply import Multiplier
from celosia.cores.single_port import SinglePortMemory
from celosia.platforms.board import Board
from celosia.platforms.flow import Flow
from celosia.platforms.ice40_pll import ICE40Clock, PLLSettings, solve_pll

__all__ = ["UP5K", "ICE40Board", "ICE40Cells"]

_OPERAND_WIDTH = 16
#: Words of 16 bits in an SB_SPRAM256KA.
_SPRAM_WORDS = 1 << 14


class ICE40Cells:
    """Platform hooks that build components from cells of an UltraPlus."""

    def get_multiplier(self, multiplier: Multiplier) -> Elaboratable:
        """Build `multiplier` from one SB_MAC16, with all its registers inside.

        Wider operands than the cell's 16 bits stay plain logic.
        """
        if max(multiplier.a_width, multiplier.b_width) > _OPERAND_WIDTH:
            return multiplier.elaborate(None)

        m = Module()
        a, b = Signal(_OPERAND_WIDTH), Signal(_OPERAND_WIDTH)
        high, low = Signal(16), Signal(16)
        m.d.comb += [
            a.eq(multiplier.a),
            b.eq(multiplier.b),
            multiplier.product.eq(Cat(low, high)),
        ]
        # Four products of bytes, registered, are added up in a second register; the outputs show
        # that one (3) instead of the accumulator behind it, which is not used.
        m.submodules.cell = Instance(
            "SB_MAC16",
            p_A_REG=1,
            p_B_REG=1,
            p_A_SIGNED=1,
            p_B_SIGNED=1,
            p_TOP_8x8_MULT_REG=1,
            p_BOT_8x8_MULT_REG=1,
            p_PIPELINE_16x16_MULT_REG1=1,
            p_PIPELINE_16x16_MULT_REG2=1,
            p_TOPOUTPUT_SELECT=3,
            p_BOTOUTPUT_SELECT=3,
            i_CLK=ClockSignal(),
            i_CE=1,
            i_A=a,
            i_B=b,
            i_C=0,
            i_D=0,
            i_AHOLD=0,
            i_BHOLD=~multiplier.b_enable,
            i_CHOLD=0,
            i_DHOLD=0,
            i_IRSTTOP=0,
            i_IRSTBOT=0,
            i_ORSTTOP=0,
            i_ORSTBOT=0,
            i_OLOADTOP=0,
            i_OLOADBOT=0,
            i_ADDSUBTOP=0,
            i_ADDSUBBOT=0,
            i_OHOLDTOP=0,
            i_OHOLDBOT=0,
            i_CI=0,
            i_ACCUMCI=0,
            i_SIGNEXTIN=0,
            o_O=Cat(low, high),
        )
        return m

    def get_single_port_memory(self, memory: SinglePortMemory) -> Elaboratable:
        """Build `memory` from two SB_SPRAM256KA, one for each half of a word.

        Raises
        ------
        ValueError
            If it is deeper than they are.
        """
        if memory.depth > _SPRAM_WORDS:
            raise ValueError(
                f"SinglePortMemory depth must be at most {_SPRAM_WORDS} on an UltraPlus, "
                f"not {memory.depth}"
            )
        m = Module()
        address = Signal(exact_log2(_SPRAM_WORDS))
        m.d.comb += address.eq(memory.address)
        for half in range(2):
            bytes_ = memory.write[2 * half : 2 * half + 2]
            m.submodules[f"half_{half}"] = Instance(
                "SB_SPRAM256KA",
                i_CLOCK=ClockSignal(),
                i_ADDRESS=address,
                i_DATAIN=memory.i.word_select(half, 16),
                i_MASKWREN=Cat(bit.replicate(2) for bit in bytes_),  # four bits each
                i_WREN=memory.write.any(),
                i_CHIPSELECT=memory.enable,
                i_STANDBY=0,
                i_SLEEP=0,
                i_POWEROFF=1,  # low when active
                o_DATAOUT=memory.o.word_select(half, 16),
            )
        return m


class ICE40Board(ICE40Cells, Board):
    """What all boards with an iCE40 share."""

    frequency = 20.0
    flow = Flow(
        router="nextpnr-ice40",
        packer="icepack",
        netlist="json",
        constraints="pcf",
        routed="asc",
        bitstream="bin",
        # Not -dsp: it would look for adders and registers around these multipliers too, and draw
        # one register into two of them; 2 of the 8 in an array of 2 x 4 are lost.
        overrides={"synth_opts": "-device u"},
        counted=("LUT", "FF", "SB_MAC16", "SB_RAM40_4K", "SB_CARRY"),
        placed={
            "luts": ("ICESTORM_LC",),
            "multipliers": ("ICESTORM_DSP",),
            "block_rams": ("ICESTORM_RAM",),
        },
    )

    def solve_clock(self, frequency: float) -> PLLSettings:
        """Return the settings of an SB_PLL40."""
        return solve_pll(self.reference, frequency)

    def clock_buffer(self, port: Any) -> None:
        """Return nothing: the PLL is the buffer of its pin."""

    def clock_generator(self, settings: PLLSettings, clock: Any, reset: Signal) -> ICE40Clock:
        """Return an SB_PLL40_PAD."""
        return ICE40Clock(settings, clock, reset)


class UP5K:
    """iCE40UP5K. A logic cell has a LUT and a flip-flop."""

    speed = "UP"
    luts = flip_flops = 5_280
    multipliers = 8
    block_rams = 30
