"""`celosia compile`: from a checkpoint to a program."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from celosia.cli.common import ConfigOption, JsonOption, OutOption, out, working, write_record
from celosia.config import load_config

__all__ = ["compile_command"]

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name that `celosia models` lists, or a folder with model.safetensors and "
        "config.json.",
    ),
]
TokensOption = Annotated[
    int | None,
    typer.Option(
        "--tokens",
        metavar="N",
        min=1,
        help="Tokens of every input; text models need it, images have a fixed number.",
    ),
]


def compile_command(
    model: ModelArgument,
    config: ConfigOption,
    out_dir: OutOption,
    tokens: TokensOption = None,
    json: JsonOption = None,
) -> None:
    """Compile a checkpoint into a program for one machine.

    DIR then holds the memory image with the quantised weights and the instructions, and a manifest
    that says what lies where. `celosia run DIR` and `celosia simulate DIR` take it.
    """
    from celosia.compiler import compile_model
    from celosia.compiler.checkpoint import load_encoder
    from celosia.isa import disassemble
    from celosia.runtime.compare import mac_cycles

    machine = load_config(config)
    begin = time.perf_counter()
    with working(f"compiling {model} for {machine.name}"):
        encoder = load_encoder(model)
        program = compile_model(encoder, machine, tokens=tokens)
        path = Path(model)
        source = str(path.resolve()) if path.exists() else model
        replace(program, extra={**program.extra, "source": source}).save(out_dir)
    seconds = time.perf_counter() - begin
    instructions = len(disassemble(program.image[program.entry :]))
    out.print(
        f"{out_dir}: {encoder.name}, {encoder.parameters:,} parameters, {program.tokens} tokens; "
        f"{instructions:,} instructions, {program.window_bytes:,} bytes of memory; "
        f"{seconds:.1f} s",
        soft_wrap=True,
        highlight=False,
    )
    write_record(
        json,
        {
            "model": encoder.name,
            "config": machine.name,
            "parameters": encoder.parameters,
            "tokens": program.tokens,
            "instructions": instructions,
            "image_bytes": len(program.image),
            "window_bytes": program.window_bytes,
            "mac_cycles": mac_cycles(program),
            "seconds": seconds,
        },
    )
