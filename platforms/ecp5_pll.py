"""Clock generator of Lattice ECP5: its settings for a frequency, and the circuit."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from amaranth import ClockSignal, Elaboratable, Instance, Module, Signal
from amaranth.lib.cdc import ResetSynchronizer

from celosia.platforms.pll import check_within, nearest, within

__all__ = ["ECP5Clock", "PLLSettings", "solve_pll"]

#: Limits of the data sheet in MHz: input, phase detector, oscillator, output.
_INPUT = (8, 400)
_DETECTOR = (3.125, 400)
_OSCILLATOR = (400, 800)
_OUTPUT = (3.125, 400)
#: Largest divisors of reference, feedback and output.
_MOST_REFERENCE, _MOST_FEEDBACK, _MOST_OUTPUT = 128, 80, 128


@dataclass(frozen=True, kw_only=True)
class PLLSettings:
    """Divisors of an EHXPLLL, one output of which is fed back; frequencies in MHz."""

    reference: float
    reference_divisor: int
    feedback_divisor: int
    #: Of the output that is fed back.
    loop_divisor: int
    #: Of the output that is used.
    output_divisor: int

    @property
    def loop(self) -> float:
        """Frequency of the output that is fed back."""
        return self.reference * self.feedback_divisor / self.reference_divisor

    @property
    def oscillator(self) -> float:
        """Frequency of the oscillator."""
        return self.loop * self.loop_divisor

    @property
    def output(self) -> float:
        """Frequency of the output that is used."""
        return self.oscillator / self.output_divisor

    @property
    def late_phase(self) -> int:
        """Cycles of the oscillator in three quarters of a cycle of the output, rounded."""
        return round(3 * self.output_divisor / 4)


def _settings(reference: float, frequency: float) -> Iterator[PLLSettings]:
    """Yield what is within all limits; of the output's divisors only the best ones."""
    divisors = product(
        range(1, _MOST_REFERENCE + 1), range(1, _MOST_FEEDBACK + 1), range(1, _MOST_OUTPUT + 1)
    )
    for reference_divisor, feedback_divisor, loop_divisor in divisors:
        detector = reference / reference_divisor
        loop = detector * feedback_divisor
        oscillator = loop * loop_divisor
        if not (
            within(detector, _DETECTOR)
            and within(loop, _OUTPUT)
            and within(oscillator, _OSCILLATOR)
        ):
            continue
        output_divisor = min(max(round(oscillator / frequency), 1), _MOST_OUTPUT)
        if within(oscillator / output_divisor, _OUTPUT):
            yield PLLSettings(
                reference=reference,
                reference_divisor=reference_divisor,
                feedback_divisor=feedback_divisor,
                loop_divisor=loop_divisor,
                output_divisor=output_divisor,
            )


def solve_pll(reference: float, frequency: float) -> PLLSettings:
    """Return the settings that make `frequency` of `reference`, both in MHz.

    See `celosia.platforms.pll.nearest`. At 25 MHz all are within 0.3 % of `frequency`.

    Raises
    ------
    ConfigError
        If a frequency is out of range.
    """
    check_within("reference clock", reference, _INPUT)
    check_within("clock", frequency, _OUTPUT)
    return nearest(_settings(reference, frequency), frequency, sum(_OSCILLATOR) / 2)


class ECP5Clock(Elaboratable):
    """Clock and reset of the domain `sync`: an EHXPLLL; in reset until its clock is stable.

    Parameters
    ----------
    settings : PLLSettings
        Divisors.
    clock : Signal
        The reference clock.
    reset : Signal
        Holds the domain in reset; of any clock.
    """

    def __init__(self, settings: PLLSettings, clock: Signal, reset: Signal) -> None:
        self.settings = settings
        self.clock = clock
        self.reset = reset
        self._late: Signal | None = None

    def late(self) -> Signal:
        """Return the clock once more, three quarters of a cycle late, as near as the PLL can."""
        self._late = Signal(name="late_clock")
        return self._late

    def elaborate(self, platform) -> Module:
        m = Module()
        settings = self.settings
        late = {}
        if self._late is not None:
            # A phase is counted in cycles of the oscillator, as the divisor of the output is.
            late = {
                "p_CLKOS2_ENABLE": "ENABLED",
                "p_CLKOS2_DIV": settings.output_divisor,
                "p_CLKOS2_CPHASE": settings.output_divisor - 1 + settings.late_phase,
                "p_CLKOS2_FPHASE": 0,
                "a_FREQUENCY_PIN_CLKOS2": f"{settings.output:.6f}",
                "i_ENCLKOS2": 0,
                "o_CLKOS2": self._late,
            }
        generated, loop, locked = Signal(name="generated_clock"), Signal(), Signal()
        m.submodules.pll = Instance(
            "EHXPLLL",
            # Vendor tools take the frequencies from these; nextpnr derives its constraint on the
            # output from the divisors and that on the pin.
            a_FREQUENCY_PIN_CLKI=f"{settings.reference:.6f}",
            a_FREQUENCY_PIN_CLKOP=f"{settings.loop:.6f}",
            a_FREQUENCY_PIN_CLKOS=f"{settings.output:.6f}",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            p_OUTDIVIDER_MUXB="DIVB",
            p_OUTDIVIDER_MUXC="DIVC",
            p_OUTDIVIDER_MUXD="DIVD",
            p_FEEDBK_PATH="CLKOP",
            p_CLKI_DIV=settings.reference_divisor,
            p_CLKFB_DIV=settings.feedback_divisor,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_DIV=settings.loop_divisor,
            # Any phase would do: nothing relates this clock to the one of the board.
            p_CLKOP_CPHASE=settings.loop_divisor - 1,
            p_CLKOP_FPHASE=0,
            p_CLKOS_ENABLE="ENABLED",
            p_CLKOS_DIV=settings.output_divisor,
            p_CLKOS_CPHASE=settings.output_divisor - 1,
            p_CLKOS_FPHASE=0,
            i_CLKI=self.clock,
            i_CLKFB=loop,
            i_RST=0,
            i_STDBY=0,
            i_PHASESEL0=0,
            i_PHASESEL1=0,
            i_PHASEDIR=1,
            i_PHASESTEP=1,
            i_PHASELOADREG=1,
            i_PLLWAKESYNC=0,
            i_ENCLKOP=0,
            i_ENCLKOS=0,
            o_CLKOP=loop,
            o_CLKOS=generated,
            o_LOCK=locked,
            **late,
        )
        m.d.comb += ClockSignal().eq(generated)
        m.submodules.reset = ResetSynchronizer(~locked | self.reset)
        return m
