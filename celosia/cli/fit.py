"""`celosia fit`: the largest machine that fits a board."""

from pathlib import Path
from typing import Annotated

import typer

from celosia.atomic import atomic_write
from celosia.cli.common import console, number, out, working
from celosia.config import MachineConfig
from celosia.errors import CelosiaError

__all__ = ["fit_command", "to_toml"]


def fit_command(
    board: Annotated[
        str, typer.Option("-b", "--board", metavar="BOARD", help="Such as ulx3s-85f.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL|PROGRAM",
            help="What its memory has to hold: what `compile` takes, or a folder that it wrote.",
        ),
    ] = None,
    tokens: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="With the model of a text encoder: its tokens."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE", help="Write the configuration to this file."),
    ] = None,
) -> None:
    """Find the largest machine that fits a board, and print its configuration as TOML.

    The array is the largest that the chip has multipliers and, by estimate, LUTs for; its memory is
    on the chip, or with a model that needs more, the board's SDRAM. Nothing is synthesised.
    """
    from celosia.platforms.boards import board as board_named
    from celosia.platforms.estimate import Estimate
    from celosia.platforms.largest import largest_machine

    platform = board_named(board)
    name = board.replace("-", "_") if file is None else file.stem
    if tokens is not None and model is None:
        raise CelosiaError("--tokens is for a model; give --model with it")
    if model is None:
        machine = largest_machine(platform, name=name)
    else:
        with working(f"looking for a machine for {model}"):
            machine = largest_machine(
                platform, lambda config: _window(model, config, tokens), name=name
            )
    text = to_toml(machine)
    if file is None:
        out.print(text, end="", soft_wrap=True, highlight=False, markup=False)
    else:
        atomic_write(file, text)
    estimate = Estimate(machine)
    console.print(
        f"{machine.rows} x {machine.columns}: about {number(estimate.luts)} LUTs of "
        f"{number(platform.luts)}, {number(estimate.flip_flops)} flip-flops; "
        f"{estimate.multipliers} multipliers of {platform.multipliers}, "
        f"{estimate.block_rams} block RAMs of {platform.block_rams}",
        soft_wrap=True,
        highlight=False,
    )


def to_toml(config: MachineConfig) -> str:
    """Return a configuration as TOML that `load_config` reads; what is at its default is left out.

    The sizes that have a default and are not at it, and all that have none, are there.
    """
    from dataclasses import fields

    lines = []
    for field in fields(config):
        value = getattr(config, field.name)
        if value != field.default:
            lines.append(f"{field.name} = " + (f'"{value}"' if type(value) is str else f"{value}"))
    return "\n".join(lines) + "\n"


def _window(model: str, config: MachineConfig, tokens: int | None) -> int:
    """Return the bytes of memory that a model takes on a machine."""
    from celosia.compiler import compile_model
    from celosia.compiler.checkpoint import load_model
    from celosia.compiler.compile_decoder import compile_decoder
    from celosia.compiler.decoder import Decoder
    from celosia.compiler.program import MANIFEST, Program

    if (Path(model) / MANIFEST).exists():
        return Program.load(model).window_bytes
    machine = config.replace(memory="axi4", on_chip_bytes=0)
    graph = load_model(model)
    if isinstance(graph, Decoder):
        return compile_decoder(graph, machine).window_bytes
    return compile_model(graph, machine, tokens=tokens).window_bytes
