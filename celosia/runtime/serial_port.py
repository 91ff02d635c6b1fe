"""Serial ports of this computer, through pyserial."""

from typing import Any

from celosia.errors import DeviceError, ToolError

__all__ = ["open_port"]


def open_port(name: str, baud: int) -> Any:
    """Open the serial port called `name`, for this process alone; see `celosia.runtime.link.Port`.

    Raises
    ------
    ToolError
        If pyserial is missing.
    DeviceError
        If the port cannot be opened.
    """
    try:
        import serial
        from serial.tools.list_ports import comports
    except ImportError as error:
        raise ToolError(
            "pyserial is missing, which serial ports need: pip install pyserial; `celosia doctor` "
            "lists what else is"
        ) from error
    try:
        return serial.Serial(name, baud, exclusive=True)
    except (serial.SerialException, OSError, ValueError) as error:
        there = ", ".join(sorted(port.device for port in comports())) or "none"
        why = getattr(error, "strerror", None) or error
        raise DeviceError(
            f"serial port {name} cannot be opened at {baud} baud: {why}; ports here: {there}"
        ) from error
