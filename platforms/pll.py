"""What the clock generators of all families share: the search for divisors."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from celosia.errors import ConfigError

__all__ = ["check_within", "nearest", "within"]


class _Settings(Protocol):
    @property
    def reference_divisor(self) -> int: ...

    @property
    def oscillator(self) -> float: ...

    @property
    def output(self) -> float: ...


S = TypeVar("S", bound=_Settings)


def within(value: float, limits: tuple[float, float]) -> bool:
    """Return whether a frequency lies between the least and the most."""
    return limits[0] <= value <= limits[1]


def check_within(name: str, value: float, limits: tuple[float, float]) -> None:
    """Check that a frequency, in MHz, lies between the least and the most.

    Raises
    ------
    ConfigError
        If it does not.
    """
    if not within(value, limits):
        least, most = limits
        raise ConfigError(f"{name} must be between {least:g} and {most:g} MHz, not {value:g}")


def nearest(found: Iterable[S], frequency: float, oscillator: float) -> S:
    """Return the settings whose output is nearest to `frequency`.

    Of these the ones with the fastest phase detector count, and of these the ones whose oscillator
    is nearest to `oscillator`, the middle of its range, where it has the least jitter; all in MHz.
    """
    return min(
        found,
        key=lambda settings: (
            round(abs(settings.output - frequency), 6),
            settings.reference_divisor,
            abs(settings.oscillator - oscillator),
        ),
    )
