"""The Verilog model of a flash (`sim/sim_flash.v`): its parameters, from a part's data sheet."""

from celosia.flash_part import MOST_MHZ, FlashPart

__all__ = ["model_parameters"]

#: Times that the model takes in nanoseconds.
_TIMES = ("power_up", "release", "reset", "deselect", "write")


def model_parameters(part: FlashPart, offset: int) -> dict[str, int]:
    """Return the parameters of the module `flash_model`, at the fastest clock of a machine.

    Parameters
    ----------
    part : FlashPart
        What its data sheet says.
    offset : int
        Where in it the file lies that it is given; its four lines have been switched on.
    """
    return {
        "SIZE": part.size,
        "OFFSET": offset,
        "PERIOD_PS": round(1e6 / MOST_MHZ),
        "READ": part.read,
        "DUMMY": part.dummy,
        "STATUS": part.status,
        "QUAD_BIT": part.quad_bit,
        **{f"{name.upper()}_NS": round(getattr(part, name)) for name in _TIMES},
    }
