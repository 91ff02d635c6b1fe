"""`celosia selftest`: a small program of all units on a device, against the golden machine."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from celosia.cli.common import ConfigOption, JsonOption, number, out, working, write_record
from celosia.cli.devices import (
    BaudOption,
    DeviceOption,
    is_serial,
    named_device,
    preparing,
    serial_link,
)
from celosia.config import MachineConfig, load_config
from celosia.errors import CelosiaError, CheckFailed
from celosia.runtime.array_session import ArraySession, compare_products
from celosia.runtime.compare import SHARED
from celosia.runtime.devices import Session, window_size
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.lockstep import LockstepSession
from celosia.runtime.selftest import random_rows, selftest_program
from celosia.runtime.serial_device import BAUD
from celosia.runtime.serial_session import SerialSession

__all__ = ["examine", "selftest_command"]

#: Differences that are told one by one.
SHOWN = 8


def examine(config: MachineConfig, session: Session, runs: int) -> dict[str, Any]:
    """Run the self-test in a session that has it loaded; return what was found.

    Returns
    -------
    dict
        `parts`: of each result, the memory and the counters, the bytes (or counters) `compared` and
        those that `differ`. `differences`: the same in words. `line`: what a serial line carried.
    """
    program = session.program
    golden = GoldenDevice(config).open(program)
    both = LockstepSession(program, golden, session)
    compared = dict.fromkeys((tensor.name for tensor in program.outputs), 0)
    for seed in range(runs):
        run = both.run(random_rows(program, seed))
        for tensor in program.outputs:
            compared[tensor.name] += len(run.outputs[tensor.address])
    found = both.compare_memory()
    differ = {
        **{name: f"output {name} of run" for name in compared},
        "memory": "memory after",
        "counters": "counter ",
    }
    compared |= {"memory": window_size(program), "counters": len(SHARED) * runs}
    parts = {
        name: {
            "compared": compared[name],
            "differ": sum(one.bytes for one in found.differences if one.where.startswith(start)),
        }
        for name, start in differ.items()
    }
    line = vars(session.statistics).copy() if isinstance(session, SerialSession) else None
    return {
        "parts": parts,
        "differences": [str(one) for one in found.differences],
        **({"line": line} if line else {}),
    }


def selftest_command(
    config: ConfigOption,
    device: DeviceOption = "golden",
    baud: BaudOption = None,
    runs: Annotated[
        int, typer.Option("--runs", min=1, max=10_000, help="Runs, each with other numbers.")
    ] = 4,
    core: Annotated[
        str | None,
        typer.Option("--core", metavar="NAME", help="systolic: the array alone, on a board."),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="DIR",
            help="Only write the program here; `celosia program` puts it into a board's flash.",
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Test a device: run all units with random numbers, compare every byte with the golden machine.

    The exit status is 1 if something differs. On a board the results come over the line; of the
    memory only what has another checksum than before, the rest being compared by that. With --core
    systolic an array alone (`synthesize --core`) multiplies, and NumPy says what is right.
    """
    machine = load_config(config)
    if save is not None:
        selftest_program(machine).save(save)
        return
    found = (
        _examine_machine(machine, device, baud, runs)
        if core is None
        else _examine_array(machine, core, device, baud, runs)
    )
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("part")
    table.add_column("compared", justify="right")
    table.add_column("differ", justify="right")
    table.add_column("")
    for name, part in found["parts"].items():
        verdict = "wrong" if part["differ"] else "equal"
        table.add_row(name, number(part["compared"]), number(part["differ"]), verdict)
    out.print(table)
    if "line" in found:
        line = found["line"]
        out.print(
            f"line: {number(line['sent'])} bytes sent, {number(line['received'])} received; "
            f"{line['repeated']} of {number(line['requests'])} requests sent again"
        )
    record = {"device": device, "config": machine.name, "digest": machine.digest().hex()}
    equal = not found["differences"]
    write_record(json, {**record, "runs": runs, "equal": equal, **found})
    if not equal:
        raise CheckFailed(
            f"{device}: differs from the golden machine:\n"
            + "\n".join(found["differences"][:SHOWN])
        )


def _examine_machine(
    config: MachineConfig, device: str, baud: int | None, runs: int
) -> dict[str, Any]:
    program = selftest_program(config)
    with preparing(device):
        session = named_device(device, config, baud).open(program)
    with session, working(f"testing {device}"):
        return examine(config, session, runs)


def _examine_array(
    config: MachineConfig, core: str, device: str, baud: int | None, runs: int
) -> dict[str, Any]:
    if core != "systolic" or not is_serial(device):
        raise CelosiaError("--core tests systolic on a board; give --device serial:PORT with it")
    with serial_link(device, baud or BAUD) as link, working(f"testing {device}"):
        return compare_products(ArraySession(link, config.rows, config.columns), runs)
