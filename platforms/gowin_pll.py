"""Clock generator of Gowin's GW1N and GW2A: its settings for a frequency, and the circuit."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from amaranth import ClockSignal, Elaboratable, Instance, Module, Signal
from amaranth.lib.cdc import ResetSynchronizer

from celosia.platforms.pll import check_within, nearest, within

__all__ = ["GowinClock", "PLLLimits", "PLLSettings", "solve_pll"]

_MOST_REFERENCE, _MOST_FEEDBACK = 64, 64
#: Divisors of the output.
_OUTPUTS = (2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128)


@dataclass(frozen=True, kw_only=True)
class PLLLimits:
    """Limits of a chip's data sheet in MHz, of a speed grade: each the least and the most."""

    detector: tuple[float, float]
    oscillator: tuple[float, float]
    output: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class PLLSettings:
    """Divisors of an rPLL whose output is fed back; frequencies in MHz."""

    reference: float
    reference_divisor: int
    feedback_divisor: int
    output_divisor: int

    @property
    def detector(self) -> float:
        """Frequency of the phase detector."""
        return self.reference / self.reference_divisor

    @property
    def output(self) -> float:
        """Frequency of the output."""
        return self.reference * self.feedback_divisor / self.reference_divisor

    @property
    def oscillator(self) -> float:
        """Frequency of the oscillator."""
        return self.output * self.output_divisor


def _settings(reference: float, limits: PLLLimits) -> Iterator[PLLSettings]:
    """Yield what is within all limits."""
    divisors = product(range(1, _MOST_REFERENCE + 1), range(1, _MOST_FEEDBACK + 1), _OUTPUTS)
    for reference_divisor, feedback_divisor, output_divisor in divisors:
        settings = PLLSettings(
            reference=reference,
            reference_divisor=reference_divisor,
            feedback_divisor=feedback_divisor,
            output_divisor=output_divisor,
        )
        if (
            within(settings.detector, limits.detector)
            and within(settings.oscillator, limits.oscillator)
            and within(settings.output, limits.output)
        ):
            yield settings


def solve_pll(reference: float, frequency: float, limits: PLLLimits) -> PLLSettings:
    """Return the settings that make `frequency` of `reference`, both in MHz.

    See `celosia.platforms.pll.nearest`.

    Raises
    ------
    ConfigError
        If a frequency is out of range.
    """
    check_within("reference clock", reference, limits.detector)
    check_within("clock", frequency, limits.output)
    return nearest(_settings(reference, limits), frequency, sum(limits.oscillator) / 2)


class GowinClock(Elaboratable):
    """Clock and reset of the domain `sync`: an rPLL; in reset until its clock is stable.

    Parameters
    ----------
    settings : PLLSettings
        Divisors.
    device : str
        Name of the chip, as the cell's parameter has it.
    clock : Signal
        The reference clock.
    reset : Signal
        Holds the domain in reset; of any clock.
    """

    def __init__(self, settings: PLLSettings, device: str, clock: Signal, reset: Signal) -> None:
        self.settings = settings
        self.device = device
        self.clock = clock
        self.reset = reset

    def elaborate(self, platform) -> Module:
        m = Module()
        settings = self.settings
        generated, locked = Signal(name="generated_clock"), Signal()
        m.submodules.pll = Instance(
            "rPLL",
            p_DEVICE=self.device,
            p_FCLKIN=f"{settings.reference:g}",
            p_DYN_IDIV_SEL="false",
            p_IDIV_SEL=settings.reference_divisor - 1,
            p_DYN_FBDIV_SEL="false",
            p_FBDIV_SEL=settings.feedback_divisor - 1,
            p_DYN_ODIV_SEL="false",
            p_ODIV_SEL=settings.output_divisor,
            p_CLKFB_SEL="internal",
            p_CLKOUT_BYPASS="false",
            p_CLKOUTP_BYPASS="false",
            p_CLKOUTD_BYPASS="false",
            i_CLKIN=self.clock,
            i_CLKFB=0,
            i_RESET=0,
            i_RESET_P=0,
            i_FBDSEL=0,
            i_IDSEL=0,
            i_ODSEL=0,
            i_PSDA=0,
            i_DUTYDA=0,
            i_FDLY=0,
            o_CLKOUT=generated,
            o_LOCK=locked,
        )
        m.d.comb += ClockSignal().eq(generated)
        m.submodules.reset = ResetSynchronizer(~locked | self.reset)
        return m
