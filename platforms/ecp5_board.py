"""Boards with an ECP5."""

from collections.abc import Callable
from typing import Any

from amaranth import Signal

from celosia.platforms.board import Board
from celosia.platforms.ecp5 import ECP5Cells, release_carries
from celosia.platforms.ecp5_pll import ECP5Clock, PLLSettings, solve_pll
from celosia.platforms.floorplan import MultiplierSites, place_arrays
from celosia.platforms.flow import Flow
from celosia.platforms.report import RESOURCES

__all__ = ["Die25", "Die45", "Die85", "ECP5Board"]


class ECP5Board(ECP5Cells, Board):
    """What all boards with an ECP5 share."""

    frequency = 40.0
    flow = Flow(
        router="nextpnr-ecp5",
        packer="ecppack",
        netlist="json",
        constraints="lpf",
        routed="config",
        bitstream="bit",
        # Router2, the default, lets nets share wires and makes shared ones dearer: on a chip
        # without a multiplier to spare some 2,000 wires stay shared. Router1 tears out what lies
        # in an arc's way and routes it anew, which takes longer and comes to an end. The static
        # placer makes wires a fifth shorter than HeAP, the default.
        options=("--router", "router1", "--placer", "static"),
        counted=RESOURCES,
        placed={
            "luts": ("TRELLIS_COMB",),
            "flip_flops": ("TRELLIS_FF",),
            "multipliers": ("MULT18X18D",),
            "block_rams": ("DP16KD",),
        },
    )

    def solve_clock(self, frequency: float) -> PLLSettings:
        """Return the settings of an EHXPLLL."""
        return solve_pll(self.reference, frequency)

    def clock_generator(self, settings: PLLSettings, clock: Signal, reset: Signal) -> ECP5Clock:
        """Return an EHXPLLL."""
        return ECP5Clock(settings, clock, reset)

    def prepare_netlist(
        self, netlist: dict[str, Any], *, top: str, progress: Callable[[str], None]
    ) -> bool:
        """Let carries go that do not count, and give the multipliers of arrays their places.

        Tells of arrays for which there are none.
        """
        release_carries(netlist["modules"][top])
        if self.multiplier_sites is None:
            return True
        placed = place_arrays(netlist, self.multiplier_sites, top=top)
        for array, count in placed.items():
            if not count:
                progress(
                    f"{array.rstrip('.')}: its multipliers, or their enables, do not fit the "
                    "chip's sites in lines; the placer looks for sites, for hours if it is large"
                )
        return True


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
