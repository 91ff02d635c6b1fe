"""`celosia profile`: where the cycles of a run go, by layer, unit and cause."""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.table import Table

from celosia.atomic import atomic_write
from celosia.cli.common import JsonOption, number, out, working, write_record
from celosia.cli.inputs import choose_samples
from celosia.cli.simulate import BandwidthOption, GeneratedOption, LatencyOption, ProgramArgument
from celosia.cli.text import is_decoder
from celosia.compiler.emit_decoder import decoder_shape
from celosia.compiler.program import Program
from celosia.errors import ConfigError
from celosia.flash_part import CYCLES_A_BYTE
from celosia.isa import Unit
from celosia.runtime.attribution import CAUSES
from celosia.runtime.profile import Profile, layer_names, make_profile
from celosia.sdram_part import WORD_BYTES

__all__ = ["profile_command", "profile_program"]


def profile_program(
    program: Program,
    source: str | None = None,
    *,
    tokens: int = 1,
    position: int = 0,
    generated: Path | None = None,
    latency: int = 40,
    bandwidth: int = 256,
) -> Profile:
    """Simulate one run on the RTL and say where its cycles went.

    Parameters
    ----------
    program : Program
        What to run.
    source : str, optional
        The input, as `--input` takes it.
    tokens, position : int
        Of a language model, how many random tokens, and where in the sequence.
    generated : Path, optional
        Folder with the Verilog.
    latency, bandwidth : int
        Of external memory; see `SimDevice`.
    """
    from celosia.cli.machines import open_simulation
    from celosia.runtime.generate import embedded
    from celosia.runtime.host import prepare

    if program.config.engine == "micro":
        raise ConfigError(
            f"configuration {program.config.name!r}: a microprogrammed machine does one thing "
            "after the other, and has no timeline; `celosia simulate` counts its cycles"
        )
    layer_names(program)  # what is wrong with them is said before anything long begins
    arguments: list[int] = []
    if is_decoder(program):
        arguments = decoder_shape(program).arguments(position, tokens)
        ids = np.random.default_rng(0).integers(0, len(program.host["embedding"]), tokens)
        writes = embedded(program, ids.tolist())
    else:
        sample = choose_samples(program, [source] if source else None, None, 1)[0]
        writes = prepare(program, sample.values)
    with working("generating Verilog"):
        device = open_simulation(
            program.config, generated, latency=latency, bandwidth=bandwidth, events=True
        )
    with working("compiling the simulation"):
        device.build(program.window_bytes)
    with working("simulating"):
        run = device.run(program, [writes], arguments=arguments).runs[0]
    config = program.config
    beats = {
        "axi4": bandwidth,
        "on_chip": 256,
        "sdram": 256 * WORD_BYTES // config.memory_width,
        "flash": 256 // CYCLES_A_BYTE // config.memory_width,
    }
    return make_profile(program, run, arguments, bandwidth=beats[config.memory])


def profile_command(
    program: ProgramArgument,
    source: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="TEXT|FILE.npy",
            help="A text, or a NumPy file with an image or token ids. By default a digit, or "
            "random token ids.",
        ),
    ] = None,
    tokens: Annotated[
        int,
        typer.Option(metavar="N", min=1, help="Language models: tokens of the run; 1 is a decode."),
    ] = 1,
    position: Annotated[
        int,
        typer.Option(metavar="P", min=0, help="Language models: tokens that the cache has before."),
    ] = 0,
    generated: GeneratedOption = None,
    latency: LatencyOption = 40,
    bandwidth: BandwidthOption = 256,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a page with the timeline and the roofline to this file."
        ),
    ] = None,
    trace: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a trace for ui.perfetto.dev to this file; 1 cycle is 1 µs."
        ),
    ] = None,
    json: JsonOption = None,
) -> None:
    """Show where the cycles of a run go: by layer, by unit, by cause of stall.

    One input runs on the generated Verilog. Each cycle belongs to one layer: to that of the row
    which enters the array (MAC), or to that which keeps the next row from it, for one of these
    causes:

    - weights: its tile is on the way from the scratchpad;

    - rows: the row itself, or its probabilities, are not there yet;

    - accumulators: those that it needs are still being drained;

    - token: it waits for another instruction's result;

    - memory: its weights or operands come from memory, or results go there;

    - issue: its instruction is not there yet.

    `bound` is what limits a layer, the array or memory; `reached` how near it came to that. Layers
    overlap, so one alone may exceed 100 %.
    """
    loaded = Program.load(program)
    found = profile_program(
        loaded,
        source,
        tokens=tokens,
        position=position,
        generated=generated,
        latency=latency,
        bandwidth=bandwidth,
    )
    if html is not None:
        from celosia.runtime.profile_page import page_html

        atomic_write(html, page_html(found))
    if trace is not None:
        from celosia.runtime.profile_trace import trace_json

        atomic_write(trace, trace_json(found))
    write_record(json, found.record())
    _show_layers(found)
    _show_units(found)


def _table(*heads: str) -> Table:
    """Return a table whose columns of text are `layer`, `unit` and `bound`."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for head in heads:
        text = head in ("layer", "unit", "bound")
        table.add_column(head, justify="left" if text else "right", no_wrap=True)
    return table


def _show_layers(profile: Profile) -> None:
    figures = _table("layer", "cycles", "MAC", "used", "read", "written", "bound", "reached")
    stalls = _table("layer", *CAUSES)
    for layer in [*profile.layers, profile.total]:
        style = "bold" if layer is profile.total else None
        figures.add_row(
            layer.name,
            number(layer.cycles),
            number(layer.mac_rows),
            f"{layer.utilisation:.1%}",
            number(layer.bytes_read),
            number(layer.bytes_written),
            layer.bound,
            f"{layer.reached:.1%}",
            style=style,
        )
        stalls.add_row(layer.name, *map(number, layer.stalls.values()), style=style)
    out.print(figures)
    out.print()
    out.print(stalls)


def _show_units(profile: Profile) -> None:
    table = _table("unit", "instructions", "busy", "waits for tokens")
    cycles = profile.total.cycles
    for unit in Unit:
        name = unit.name.lower()
        busy, waits = profile.counters[f"{name}_busy"], profile.counters[f"{name}_wait"]
        count = len(profile.timeline.units[unit])
        table.add_row(name, number(count), f"{busy / cycles:.1%}", f"{waits / cycles:.1%}")
    out.print()
    out.print(table)
