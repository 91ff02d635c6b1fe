"""The Verilog model of an SDRAM (`sim/sim_sdram.v`): its parameters, from a part's data sheet."""

from celosia.sdram_part import POSTPONED, SDRAMPart

__all__ = ["model_parameters"]

#: Timing that the model takes in picoseconds.
_TIMING = ("rcd", "ras", "rc", "rrd", "rp", "wr", "rfc")


def model_parameters(part: SDRAMPart, frequency: float, round_trip: int) -> dict[str, int]:
    """Return the parameters of the module `sdram_model`.

    Parameters
    ----------
    part : SDRAMPart
        What its data sheet says.
    frequency : float
        Clock in MHz.
    round_trip : int
        Cycles that the pins add, as `celosia.rtl.sdram.SDRAMMemory` counts them.
    """
    # As many refreshes as may be owed, and one more, at the pace of the data sheet.
    gap = (POSTPONED + 1) * part.window / part.rows_refreshed
    return {
        "ROW_BITS": part.row_bits,
        "COLUMN_BITS": part.column_bits,
        "PERIOD_PS": round(1e6 / frequency),
        "RAS_MOST_NS": round(part.ras_most),
        "POWER_UP_NS": round(part.power_up),
        "WINDOW_NS": round(part.window),
        "REFRESHES": part.rows_refreshed,
        "GAP_PS": round(1000 * gap),
        "INVERTED": int(round_trip < 0),
        "DELAY": max(round_trip, 0),
        **{f"{name.upper()}_PS": round(1000 * getattr(part, name)) for name in _TIMING},
    }
