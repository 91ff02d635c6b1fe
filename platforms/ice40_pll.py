"""Clock generator of Lattice iCE40: its settings for a frequency, and the circuit."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from amaranth import ClockDomain, ClockSignal, Elaboratable, Instance, Module, Signal
from amaranth.lib.cdc import ResetSynchronizer

from celosia.platforms.pll import check_within, nearest, within

__all__ = ["ICE40Clock", "PLLSettings", "solve_pll"]

#: Limits of the data sheet in MHz: input and phase detector, oscillator, output.
_DETECTOR = (10, 133)
_OSCILLATOR = (533, 1066)
_OUTPUT = (16, 275)
#: Phase detectors up to these frequencies take the loop filters 1, 2, … (as `icepll` has them).
_FILTERS = (17, 26, 44, 66, 101, 133)
#: Largest factor of the feedback, divisor of the reference, logarithm of the output's divisor.
_MOST_FEEDBACK, _MOST_REFERENCE, _OUTPUT_LOGS = 128, 16, range(1, 7)
#: Block RAM reads as zero for some 3 us after configuration; the domain stays in reset longer.
_START_US = 15


@dataclass(frozen=True, kw_only=True)
class PLLSettings:
    """Divisors of an SB_PLL40 whose oscillator is fed back; frequencies in MHz."""

    reference: float
    reference_divisor: int
    feedback_divisor: int
    output_log: int

    @property
    def detector(self) -> float:
        """Frequency of the phase detector."""
        return self.reference / self.reference_divisor

    @property
    def oscillator(self) -> float:
        """Frequency of the oscillator."""
        return self.detector * self.feedback_divisor

    @property
    def output(self) -> float:
        """Frequency of the output."""
        return self.oscillator / 2**self.output_log

    @property
    def filter_range(self) -> int:
        """Loop filter that goes with the phase detector's frequency."""
        return 1 + sum(self.detector >= limit for limit in _FILTERS[:-1])


def _settings(reference: float) -> Iterator[PLLSettings]:
    """Yield what is within all limits."""
    divisors = product(range(1, _MOST_REFERENCE + 1), range(1, _MOST_FEEDBACK + 1), _OUTPUT_LOGS)
    for reference_divisor, feedback_divisor, output_log in divisors:
        settings = PLLSettings(
            reference=reference,
            reference_divisor=reference_divisor,
            feedback_divisor=feedback_divisor,
            output_log=output_log,
        )
        if (
            within(settings.detector, _DETECTOR)
            and within(settings.oscillator, _OSCILLATOR)
            and within(settings.output, _OUTPUT)
        ):
            yield settings


def solve_pll(reference: float, frequency: float) -> PLLSettings:
    """Return the settings that make `frequency` of `reference`, both in MHz.

    See `celosia.platforms.pll.nearest`.

    Raises
    ------
    ConfigError
        If a frequency is out of range.
    """
    check_within("reference clock", reference, _DETECTOR)
    check_within("clock", frequency, _OUTPUT)
    return nearest(_settings(reference), frequency, sum(_OSCILLATOR) / 2)


class ICE40Clock(Elaboratable):
    """Clock and reset of the domain `sync`: an SB_PLL40_PAD at the clock's pin.

    In reset until the clock is stable, and until block RAM can be read.

    Parameters
    ----------
    settings : PLLSettings
        Divisors.
    clock : SingleEndedPort
        The pin, that of the PLL; nothing else reads it.
    reset : Signal
        Holds the domain in reset; of any clock.
    """

    def __init__(self, settings: PLLSettings, clock: Any, reset: Signal) -> None:
        self.settings = settings
        self.clock = clock
        self.reset = reset

    def elaborate(self, platform) -> Module:
        m = Module()
        settings = self.settings
        generated, locked = Signal(name="generated_clock"), Signal()
        m.submodules.pll = Instance(
            "SB_PLL40_PAD",
            p_FEEDBACK_PATH="SIMPLE",
            p_DIVR=settings.reference_divisor - 1,
            p_DIVF=settings.feedback_divisor - 1,
            p_DIVQ=settings.output_log,
            p_FILTER_RANGE=settings.filter_range,
            i_PACKAGEPIN=self.clock.io,
            i_RESETB=1,
            i_BYPASS=0,
            o_PLLOUTGLOBAL=generated,
            o_LOCK=locked,
        )
        m.domains.start = ClockDomain(reset_less=True, local=True)
        m.d.comb += [ClockSignal("start").eq(generated), ClockSignal().eq(generated)]
        last = round(_START_US * settings.output)
        count = Signal(range(last + 1))
        ready = Signal()
        m.d.start += ready.eq(count == last)
        with m.If(locked & (count != last)):
            m.d.start += count.eq(count + 1)
        m.submodules.reset = ResetSynchronizer(~ready | self.reset)
        return m
