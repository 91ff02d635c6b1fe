"""`celosia simulate`: the RTL against the golden machine, every byte."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from celosia.cli.common import JsonOption, counted, number, out, working, write_record
from celosia.cli.inputs import DatasetOption, InputOption, LimitOption, Sample, choose_samples
from celosia.cli.text import (
    PromptOption,
    TokensOption,
    is_decoder,
    read_prompt,
    refuse_prompt,
    write_text,
)
from celosia.compiler.program import Program
from celosia.errors import CheckFailed
from celosia.runtime.compare import Comparison, compare, mac_cycles
from celosia.runtime.devices import Batch

__all__ = [
    "BandwidthOption",
    "GeneratedOption",
    "LatencyOption",
    "ProgramArgument",
    "simulate_command",
    "simulate_program",
]

ProgramArgument = Annotated[
    Path, typer.Argument(metavar="P", help="Folder that `celosia compile` wrote.")
]
GeneratedOption = Annotated[
    Path | None,
    typer.Option(
        "--generated",
        metavar="DIR",
        help="Simulate the Verilog in this folder of `celosia generate`, not a fresh one.",
    ),
]
LatencyOption = Annotated[
    int, typer.Option(min=1, max=10_000, help="Cycles that external memory takes to answer.")
]
BandwidthOption = Annotated[
    int, typer.Option(min=1, max=256, help="Beats of external memory in 256 cycles, each way.")
]
#: Differences that are shown.
SHOWN = 8


def simulate_program(
    program: Program,
    samples: list[Sample],
    *,
    generated: Path | None = None,
    latency: int = 40,
    bandwidth: int = 256,
) -> tuple[Batch, Batch, Comparison]:
    """Run samples on the golden machine and on the RTL, and compare all they leave behind.

    Returns
    -------
    golden, simulated : Batch
        What each left behind.
    found : Comparison
        Where they differ.
    """
    from celosia.cli.machines import open_simulation
    from celosia.runtime.golden_device import GoldenDevice
    from celosia.runtime.host import prepare

    inputs = [prepare(program, sample.values) for sample in samples]
    with counted("golden", len(inputs)) as progress:
        golden = GoldenDevice(program.config).run(program, inputs, progress=progress)
    with working("generating Verilog"):
        device = open_simulation(program.config, generated, latency=latency, bandwidth=bandwidth)
    with working("compiling the simulation"):
        device.build(golden.memory.size)
    with counted("RTL", len(inputs)) as progress:
        simulated = device.run(program, inputs, progress=progress)
    return golden, simulated, compare(program, golden, simulated)


def simulation_record(program: Program, simulated: Batch, found: Comparison) -> dict[str, Any]:
    """Return what a simulation found, as plain values."""
    counters = [dict(run.counters) for run in simulated.runs]
    cycles = [run["cycles"] for run in counters]
    ideal = mac_cycles(program)
    return {
        "model": program.model,
        "config": program.config.name,
        "inputs": len(counters),
        "mismatches": found.mismatches,
        "bytes_compared": found.bytes_compared,
        "cycles": cycles,
        "mac_cycles": ideal,
        "utilisation": ideal * len(cycles) / sum(cycles),
        "cycles_per_second": simulated.cycles / simulated.seconds,
        "seconds": simulated.seconds,
        "counters": counters,
        "places": len(found.differences),
        "differences": [str(difference) for difference in found.differences[:SHOWN]],
    }


def simulate_command(
    program: ProgramArgument,
    inputs: InputOption = None,
    dataset: DatasetOption = None,
    limit: LimitOption = None,
    generated: GeneratedOption = None,
    latency: LatencyOption = 40,
    bandwidth: BandwidthOption = 256,
    prompt: PromptOption = None,
    tokens: TokensOption = 8,
    json: JsonOption = None,
) -> None:
    """Simulate a program on the generated Verilog and compare it with the golden machine.

    Outputs, counters and the whole memory must agree in every byte; the exit status is 1 if they
    do not. Without an input it takes four digits, or random token ids. Language models go on from
    a prompt, on both machines at once, and are compared after every token.
    """
    loaded = Program.load(program)
    if is_decoder(loaded):
        record = _simulate_text(loaded, prompt, tokens, generated, latency, bandwidth)
        write_record(json, record)
        _check(program, record)
        return
    refuse_prompt(loaded, prompt)
    samples = choose_samples(loaded, inputs, dataset, limit)
    _, simulated, found = simulate_program(
        loaded, samples, generated=generated, latency=latency, bandwidth=bandwidth
    )
    record = simulation_record(loaded, simulated, found)
    write_record(json, record)
    _show(record)
    _check(program, record)


def _check(program: Path, record: dict[str, Any]) -> None:
    """Fail if anything differed."""
    if record["mismatches"]:
        lines = "\n".join(f"  {text}" for text in record["differences"])
        more = record["places"] - SHOWN
        lines += f"\n  and {more} more places" if more > 0 else ""
        raise CheckFailed(
            f"{program}: {record['mismatches']} of {record['bytes_compared']} bytes differ\n{lines}"
        )


def _simulate_text(
    program: Program,
    prompt: str | None,
    tokens: int,
    generated: Path | None,
    latency: int,
    bandwidth: int,
) -> dict[str, Any]:
    """Let a language model write on both machines; return what was found, as plain values."""
    from celosia.cli.machines import open_simulation
    from celosia.runtime.golden_device import GoldenDevice
    from celosia.runtime.lockstep import LockstepSession

    given = read_prompt(program, prompt, tokens)
    golden = GoldenDevice(program.config).open(program)
    with working("generating Verilog"):
        device = open_simulation(program.config, generated, latency=latency, bandwidth=bandwidth)
    with working("compiling the simulation"):
        session = LockstepSession(program, golden, device.open(program))
    with session:
        text = write_text(program, session, given)
        found = session.compare_memory()
    out.print(
        f"{number(found.bytes_compared)} bytes compared, {number(found.mismatches)} differ",
        highlight=False,
    )
    return {
        "model": program.model,
        "config": program.config.name,
        **text.record(),
        "mismatches": found.mismatches,
        "bytes_compared": found.bytes_compared,
        "places": len(found.differences),
        "differences": [str(difference) for difference in found.differences[:SHOWN]],
    }


def _show(record: dict[str, Any]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    cycles = record["cycles"]
    rows = {
        "model": f"{record['model']} on {record['config']}, {record['inputs']} inputs",
        "bytes compared": number(record["bytes_compared"]),
        "mismatches": number(record["mismatches"]),
        "cycles per input": number(sum(cycles) / len(cycles)),
        "ideal MAC cycles": number(record["mac_cycles"]),
        "utilisation": f"{record['utilisation']:.1%}",
        "simulated": f"{number(record['cycles_per_second'])} cycles/s",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    out.print(table)
