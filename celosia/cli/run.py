"""`celosia run`: a program on a device, and what the model says."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from celosia.cli.common import JsonOption, counted, number, out, write_record
from celosia.cli.devices import BaudOption, DeviceOption, named_device, preparing
from celosia.cli.inputs import (
    DatasetOption,
    InputOption,
    LimitOption,
    Sample,
    choose_samples,
    reference,
)
from celosia.cli.simulate import ProgramArgument
from celosia.cli.text import (
    PromptOption,
    SeedOption,
    TemperatureOption,
    TokensOption,
    is_decoder,
    read_prompt,
    refuse_prompt,
    write_text,
)
from celosia.compiler.program import Program
from celosia.golden.reference import cosine, forward
from celosia.runtime.devices import Batch, Device, check_inputs
from celosia.runtime.host import Output, finish, prepare
from celosia.runtime.serial_device import SerialDevice

__all__ = ["judge", "run_command", "run_program"]

#: Lines of results that are shown.
SHOWN = 12


def run_program(
    program: Program, samples: list[Sample], device: Device
) -> tuple[Batch, list[Output]]:
    """Run samples on a device, and read what the model says about each."""
    inputs = [prepare(program, sample.values) for sample in samples]
    if isinstance(device, SerialDevice):  # sending the program has a bar of its own, before
        check_inputs(program, inputs)
        session = device.open(program)
        with session, counted(device.name, len(inputs)) as progress:
            batch = session.run_all(inputs, progress=progress)
    else:
        with counted(device.name, len(inputs)) as progress:
            batch = device.run(program, inputs, progress=progress)
    return batch, [finish(program, run.read) for run in batch.runs]


def judge(program: Program, samples: list[Sample], outputs: list[Output]) -> dict[str, Any]:
    """Compare what the model says with the labels and with the float model.

    Returns
    -------
    dict
        `accuracy` and `float_accuracy` of samples with labels, `agreement` with the float model's
        classes, `cosine` to its vectors (mean), each if there is such a thing.
    """
    found: dict[str, Any] = {}
    expected = [sample.label for sample in samples]
    says = [output.label for output in outputs]
    labelled = None not in expected and None not in says
    if labelled:
        found["correct"] = _equal(expected, says)
        found["accuracy"] = found["correct"] / len(says)
    encoder = reference(program)
    if encoder is None:
        return found
    kind, _ = _vector(outputs[0])
    floats = [forward(encoder, sample.values)[kind] for sample in samples]
    pairs = [
        (_vector(output)[1], right.ravel())
        for output, right in zip(outputs, floats, strict=True)
        if right is not None
    ]
    found["cosine"] = float(np.mean([cosine(ours, right) for ours, right in pairs]))
    if kind == "logits":
        best = [int(np.argmax(right)) for _, right in pairs]
        labels = program.extra["labels"]
        names = [labels[index] if labels else str(index) for index in best]
        found["agreement"] = _equal(names, says) / len(says)
        if labelled:
            found["float_accuracy"] = _equal(names, expected) / len(says)
    return found


def _equal(one: Sequence[str | None], other: Sequence[str | None]) -> int:
    return sum(a == b for a, b in zip(one, other, strict=True))


def _vector(output: Output) -> tuple[str, NDArray[np.float64]]:
    """Return what is compared with the float model, and its name there."""
    for kind in ("logits", "pooled", "hidden"):
        values = getattr(output, kind)
        if values is not None:
            return kind, values.ravel()
    raise AssertionError("an output has hidden rows or logits")


def run_command(
    program: ProgramArgument,
    device: DeviceOption = "golden",
    baud: BaudOption = None,
    inputs: InputOption = None,
    dataset: DatasetOption = None,
    limit: LimitOption = None,
    prompt: PromptOption = None,
    tokens: TokensOption = 32,
    temperature: TemperatureOption = 0.0,
    seed: SeedOption = 0,
    json: JsonOption = None,
) -> None:
    """Run a program on a device and show what the model says.

    A classifier's labels are shown with the accuracy, sentence embeddings with their cosine to the
    float model, and to each other if there are two texts. A language model goes on from a prompt.
    """
    loaded = Program.load(program)
    if is_decoder(loaded):
        given = read_prompt(loaded, prompt, tokens)
        with preparing(device):
            session = named_device(device, loaded.config, baud).open(loaded)
        with session:
            text = write_text(loaded, session, given, temperature=temperature, seed=seed)
        about = {"model": loaded.model, "config": loaded.config.name, "device": device}
        write_record(json, about | text.record())
        return
    refuse_prompt(loaded, prompt)
    samples = choose_samples(loaded, inputs, dataset, limit)
    with preparing(device):
        machine = named_device(device, loaded.config, baud)
    batch, outputs = run_program(loaded, samples, machine)
    verdict = judge(loaded, samples, outputs)
    _show(samples, outputs)
    for name, value in verdict.items():
        text = f"{value:.4f}" if name == "cosine" else f"{value:.1%}"
        out.print(f"{name.replace('_', ' ')}: {value if name == 'correct' else text}")
    cycles = [run.counters["cycles"] for run in batch.runs if "cycles" in run.counters]
    if cycles:
        out.print(f"cycles per input: {number(sum(cycles) / len(cycles))}")
    write_record(
        json,
        {
            "model": loaded.model,
            "config": loaded.config.name,
            "device": device,
            "inputs": len(samples),
            "seconds": batch.seconds,
            **verdict,
            **({"cycles": cycles} if cycles else {}),
            "results": [
                {
                    "input": sample.name,
                    "label": output.label,
                    "logits": _plain(output.logits),
                    "embedding": _plain(output.pooled),
                }
                for sample, output in zip(samples, outputs, strict=True)
            ],
        },
    )


def _plain(values: Any) -> list[float] | None:
    return None if values is None else [float(value) for value in values]


def _show(samples: list[Sample], outputs: list[Output]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    classifies = outputs[0].label is not None
    for heading in ("input", "says" if classifies else "embedding", "right" if classifies else ""):
        table.add_column(heading, overflow="fold")
    for sample, output in list(zip(samples, outputs, strict=True))[:SHOWN]:
        if classifies:
            right = "yes" if sample.label == output.label else "no"
            table.add_row(sample.name, output.label, right if sample.label else "")
        else:
            _, vector = _vector(output)
            table.add_row(sample.name, " ".join(f"{value:+.3f}" for value in vector[:4]) + " …")
    out.print(table)
    if len(samples) > SHOWN:
        out.print(f"and {len(samples) - SHOWN} more")
    if len(outputs) == 2 and outputs[0].pooled is not None and outputs[1].pooled is not None:
        out.print(f"cosine of the two: {cosine(outputs[0].pooled, outputs[1].pooled):.3f}")
