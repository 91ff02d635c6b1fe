"""Devices by the names that the command line gives them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from celosia.cli.common import console, working
from celosia.config import MachineConfig
from celosia.errors import DeviceError
from celosia.runtime.devices import Device
from celosia.runtime.link import SerialLink
from celosia.runtime.serial_device import BAUD, PATIENCE, SerialDevice
from celosia.runtime.serial_port import open_port

__all__ = [
    "BaudOption",
    "DeviceOption",
    "is_serial",
    "named_device",
    "preparing",
    "serial_link",
]

DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="DEVICE",
        help="golden (NumPy), sim (the RTL), or serial:PORT (a board, such as "
        "serial:/dev/ttyUSB0).",
    ),
]
BaudOption = Annotated[
    int | None,
    typer.Option(
        "--baud",
        metavar="N",
        min=300,
        help=f"Bits per second of the serial line, those of the bitstream ({BAUD} by default).",
    ),
]

_PREFIX = "serial:"


def is_serial(name: str) -> bool:
    """Say whether a device is at the end of a serial line."""
    return name.startswith(_PREFIX)


def named_device(name: str, config: MachineConfig, baud: int | None = None) -> Device:
    """Return the device called `name`; a board shows a bar while a program is sent to it.

    Raises
    ------
    DeviceError
        If there is no such device, or it has no serial line that `baud` could be for.
    """
    if is_serial(name):
        return _board(name.removeprefix(_PREFIX), config, baud or BAUD)
    if baud is not None:
        raise DeviceError(f"device {name} has no serial line; --baud is for serial:PORT")
    from celosia.cli.machines import open_device

    return open_device(name, config)


def _board(port: str, config: MachineConfig, baud: int) -> Device:
    if not port:
        raise DeviceError("device serial: needs a port, such as serial:/dev/ttyUSB0 or serial:COM3")
    bars: list[Progress] = []

    def progress(done: int, total: int) -> None:
        if not bars:
            columns = (TextColumn("sending"), BarColumn(), TaskProgressColumn())
            bars.append(Progress(*columns, TimeRemainingColumn(), console=console, transient=True))
            bars[0].add_task("", total=total)
            bars[0].start()
        bars[0].update(bars[0].task_ids[0], completed=done)
        if done == total:
            bars.pop().stop()

    shown = progress if console.is_terminal else None
    return SerialDevice(config, port, baud=baud, progress=shown)


@contextmanager
def serial_link(name: str, baud: int) -> Iterator[SerialLink]:
    """Open the line to the board called `name`, which need not have a machine.

    Raises
    ------
    DeviceError
        If the port cannot be opened or nobody answers.
    """
    port = open_port(name.removeprefix(_PREFIX), baud)
    try:
        yield SerialLink(port, timeout=PATIENCE, retries=8)
    finally:
        port.close()


def preparing(name: str) -> AbstractContextManager[None]:
    """Show that a device is being prepared, unless it has a bar of its own."""
    return nullcontext() if is_serial(name) else working(f"preparing {name}")
