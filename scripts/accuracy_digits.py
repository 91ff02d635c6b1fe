"""Accuracy of the digits model on the golden machine, over all 360 held-out digits."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.datasets import digits_heldout
from celosia.config import MachineConfig, load_config
from celosia.golden.machine import GoldenMachine
from celosia.golden.reference import forward
from celosia.runtime.host import finish, prepare

NAME = "accuracy.digits.golden"


def accuracy(config: MachineConfig) -> tuple[float, float]:
    """Return the share of digits read right by the machine and by the float model."""
    model = load_model("digits_vit")
    program = compile_model(model, config)
    images, labels = digits_heldout()
    size = max(section.address + section.bytes for section in program.sections)
    right = float_right = 0
    for image, label in zip(images, labels, strict=True):
        memory = bytearray(size)
        memory[: len(program.image)] = program.image
        for address, data in prepare(program, image):
            memory[address : address + len(data)] = data
        result = GoldenMachine(config, memory).run(program.entry)
        if result.cause:
            raise RuntimeError(f"the machine stopped: {result}")
        right += int(np.argmax(finish(program, memory).logits)) == label
        float_right += int(np.argmax(forward(model, image)["logits"])) == label
    return right / len(labels), float_right / len(labels)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records there")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[NAME], help="one record only")
    parser.add_argument("--config", default="ulx3s", help="preset or TOML file")
    options = parser.parse_args(arguments)

    config = load_config(options.config)
    found, exact = accuracy(config)
    record = {
        "name": NAME,
        "value": round(found, 5),
        "unit": "",
        "target": round(exact - 0.01, 5),  # a point below the float model
        "limit": round(exact, 5),
        "config": config.name,
        "how": "python scripts/accuracy_digits.py",
    }
    print(f"{NAME}: {found:.4f} (float {exact:.4f}, target {record['target']})")
    if options.json:
        options.json.write_text(json.dumps([record], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
