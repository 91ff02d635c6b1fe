"""`celosia compile`: from a checkpoint to a program."""

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from celosia.cli.common import ConfigOption, JsonOption, OutOption, out, working, write_record
from celosia.compiler.program import Program
from celosia.config import load_config
from celosia.errors import CelosiaError

__all__ = ["compile_command"]

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A name that `celosia models` lists, a folder with model.safetensors and "
        "config.json, or a .gguf, .npz or .onnx file.",
    ),
]
TokensOption = Annotated[
    int | None,
    typer.Option(
        "--tokens",
        metavar="N",
        min=1,
        help="Tokens of every input; text encoders need it, images have a fixed number.",
    ),
]


ContextOption = Annotated[
    int | None,
    typer.Option(
        "--context",
        metavar="N",
        min=1,
        help="Language models: most positions of a sequence; as many as the model has by default.",
    ),
]
SequencesOption = Annotated[
    int,
    typer.Option(
        "--sequences", metavar="N", min=1, help="Language models: sequences that hold a cache."
    ),
]
PrecisionOption = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="auto|A8W8|A16W8|A16W16",
        help="Language models: bits of activations and weights; auto chooses for each matrix by "
        "the error that it makes.",
    ),
]
WeightsOption = Annotated[
    str | None,
    typer.Option(
        "--weights",
        metavar="FORMAT|FILE",
        help="Formats of the weights: one for all layers, such as 'int4 g32' (groups of 32 inputs "
        "share a scale), 'fp4 g64', 'ternary g32', 'int8 2:4' or 'int4 g32 2:4', or a recipe in "
        "TOML that says them layer by layer or sets a budget. 4 bits need a machine with "
        'pe = "packed", 2:4 one with sparsity = 4, such as the preset mixed. Default: int8.',
    ),
]


def compile_command(
    model: ModelArgument,
    config: ConfigOption,
    out_dir: OutOption,
    tokens: TokensOption = None,
    context: ContextOption = None,
    sequences: SequencesOption = 1,
    precision: PrecisionOption = "auto",
    weights: WeightsOption = None,
    json: JsonOption = None,
) -> None:
    """Compile a checkpoint into a program for one machine.

    DIR then holds the memory image with the quantised weights and the instructions, and a manifest
    that says what lies where. `celosia run DIR` and `celosia simulate DIR` take it. The program of
    a language model serves every prompt and every position of its context.
    """
    from celosia.compiler import compile_model
    from celosia.compiler.checkpoint import load_model
    from celosia.compiler.compile_decoder import compile_decoder
    from celosia.compiler.decoder import Decoder
    from celosia.compiler.formats import read_weights
    from celosia.isa import disassemble
    from celosia.runtime.compare import mac_cycles

    machine = load_config(config)
    recipe = None if weights is None else read_weights(weights)
    begin = time.perf_counter()
    with working(f"compiling {model} for {machine.name}"):
        graph = load_model(model)
        if isinstance(graph, Decoder):
            if tokens is not None:
                raise CelosiaError(
                    f"{graph.name}: --tokens is for encoders; a language model's program takes "
                    "any number of tokens; --context says how many at most"
                )
            program = compile_decoder(
                graph,
                machine,
                precision=precision,
                weights=recipe,
                context=context,
                sequences=sequences,
            )
        else:
            if context is not None or sequences != 1 or precision != "auto":
                raise CelosiaError(
                    f"{graph.name}: --context, --sequences and --precision are for language "
                    "models; leave them out"
                )
            program = compile_model(graph, machine, tokens=tokens, weights=recipe)
        path = Path(model)
        source = str(path.resolve()) if path.exists() else model
        replace(program, extra={**program.extra, "source": source}).save(out_dir)
    seconds = time.perf_counter() - begin
    instructions = len(disassemble(program.code))
    size = f"{program.tokens} tokens"
    if isinstance(graph, Decoder):
        shape = program.extra["shape"]
        size = f"context {shape['context']}, {program.tokens} tokens a run"
    out.print(
        f"{out_dir}: {graph.name}, {graph.parameters:,} parameters, {size}; "
        f"{instructions:,} instructions of 64 bytes, {program.window_bytes:,} bytes of memory; "
        f"{seconds:.1f} s",
        soft_wrap=True,
        highlight=False,
    )
    record = {
        "model": graph.name,
        "config": machine.name,
        "parameters": graph.parameters,
        "tokens": program.tokens,
        "instructions": instructions,
        "image_bytes": len(program.image),
        "window_bytes": program.window_bytes,
        "seconds": seconds,
    }
    record["layers"] = _show_formats(program)
    if isinstance(graph, Decoder):
        _show_precision(program)
        asked, done = (program.extra[f"{what}macs_per_token"] for what in ("", "array_"))
        record |= {"macs_per_token": asked, "array_macs_per_token": done}
        out.print(
            f"each token: {asked:,} products of weights, {done:,} in the array with its padding "
            f"and 16-bit rows ({done / asked:.2f} times)",
            soft_wrap=True,
            highlight=False,
        )
        record |= {name: program.extra[name] for name in ("shape", "precision", "report")}
    else:
        record["mac_cycles"] = mac_cycles(program)
    write_record(json, record)


def _show_formats(program: Program) -> list[dict[str, object]]:
    """Say how the weights are stored, and what rounding them cost; return that by layer."""
    # The report of a decoder calls a matrix "layer" what that of an encoder calls "name".
    layers = [
        {
            "layer": one["layer" if "precision" in one else "name"],
            **{key: one[key] for key in ("format", "bytes", "weight_error")},
        }
        for one in program.extra["report"]
        if "bytes" in one
    ]
    formats = Counter(one["format"] for one in layers)
    counted = ", ".join(f"{count} {name}" for name, count in formats.most_common())
    size = sum(one["bytes"] for one in layers)
    out.print(f"weights: {counted}; {size:,} bytes", soft_wrap=True, highlight=False)
    return layers


def _show_precision(program: Program) -> None:
    """Say which matrices got more than 8 bits, and what that was for."""
    found = program.extra["precision"]
    raised = [one for one in program.extra["report"] if one["precision"] != "A8W8"]
    names = ", ".join(f"{one['layer']} {one['precision']}" for one in raised) or "none"
    line = f"precision: all A8W8 but {names}" if raised else "precision: all A8W8"
    if found["asked"] == "auto":
        line += (
            f"; the worst token's probabilities diverge by {found['divergence']:.2g} nats, by "
            f"{found['divergence_a8w8']:.2g} with A8W8 alone"
        )
    out.print(line, soft_wrap=True, highlight=False)
