"""Cosine of MiniLM's sentence embeddings on the machine to those of the float reference.

Every sentence is compiled for its own number of tokens and run on the golden machine, which
computes bit for bit what the hardware does. None of the sentences is used in the calibration.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from celosia.compiler import emit_program, quantise_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.quantise_parts import QuantisedEncoder
from celosia.compiler.recipe import Recipe
from celosia.compiler.tokens import load_tokenizer
from celosia.config import MachineConfig, load_config
from celosia.golden.machine import GoldenMachine
from celosia.golden.reference import cosine, forward
from celosia.runtime.host import finish, prepare

__all__ = ["SENTENCES", "TARGETS", "cosines", "main", "records"]

#: Least mean cosine, and least cosine of any sentence.
TARGETS = {"cosine": 0.995, "cosine_least": 0.99}

SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays an instrument.",
    "The stock market fell sharply today.",
    "Shares dropped on Wall Street.",
    "Yes!",
    "How do I reset my password?",
    "The cat sat on the warm windowsill and watched the birds.",
    "Volcanic ash closed the airport for three days.",
    "He bought two kilos of apples and a loaf of rye bread.",
    "Why is the sky blue?",
    "The orchestra tuned its instruments before the curtain rose.",
    "Quantum computers use superposition and entanglement.",
    "My flight was delayed by four hours because of fog.",
    "A recipe for lentil soup with cumin and lemon.",
    "The treaty was ratified by seventeen states in 1994.",
    "Turn left at the second traffic light.",
    "Antibiotics do not work against viruses.",
    "She won the marathon in two hours and twenty-one minutes.",
    "The function returns a pointer to freed memory.",
    "Install the driver, then restart the computer.",
    "An old lighthouse stands at the end of the pier.",
    "Bees communicate the direction of food by dancing.",
    "The price of copper rose for the fifth week in a row.",
    "Can you recommend a quiet hotel near the old town?",
    "The glacier has lost a third of its volume since 1970.",
    "A black dog is running through shallow water.",
    "A dog runs along the beach.",
    "The senator refused to answer questions about the loan.",
    "It is not the strongest that survive, but those that adapt.",
    "Our warehouse ships within 24 hours, except on Sundays.",
    "The defendant pleaded not guilty to all charges.",
    "Wash the rice until the water runs clear.",
    "The telescope found water vapour on a distant planet.",
    "Several people are waiting for a bus in the rain.",
    "I forgot my umbrella at the office again.",
    "This phone's battery lasts almost two days.",
    "The bridge is closed to lorries over 7.5 tonnes.",
    "Hamlet hesitates, and so everyone dies.",
    "Gradient descent may stop in a local minimum.",
    "The nurse checked the patient's blood pressure twice.",
    "Two teams shared the prize for protein structure prediction.",
    "Grandmother's clock strikes thirteen at midnight.",
    "The library is open from nine to six, Monday to Friday.",
    "A sudden frost destroyed most of the cherry blossom.",
    "Please do not feed the pigeons.",
    "The museum returned the bronzes to the city they came from.",
    "Where did I put my glasses?",
    "The new tram line will connect the university with the harbour.",
    "Inflation slowed to 2.9 percent in October.",
    "They painted the kitchen yellow, which nobody likes but everyone remembers.",
    "Whales sing across hundreds of kilometres of open sea.",
    "The recursion never ends because the base case is wrong.",
    "Children learn languages faster than adults, or so it is often said.",
    "A good compiler turns a loop over an array into a handful of vector instructions, keeps what "
    "it can in registers, and leaves the rest to the cache.",
    "After the flood the whole village met in the church hall, where soup was served, dry clothes "
    "were handed out, and the mayor read the names of those who were still missing.",
    "Chess",
)
"""Sentences of 3 to some 40 tokens."""


def cosines(
    config: MachineConfig,
    sentences: Sequence[str],
    *,
    weights: Recipe | None = None,
    show: bool = False,
) -> tuple[list[float], QuantisedEncoder]:
    """Return the cosine of each sentence, and the model with weights of the recipe's formats."""
    model, tokenizer = load_model("minilm"), load_tokenizer("minilm")
    quantised = quantise_model(model, config, weights=weights)
    found = []
    for sentence in sentences:
        ids = tokenizer.encode(sentence)
        program = emit_program(quantised, config, len(ids))
        memory = bytearray(max(section.address + section.bytes for section in program.sections))
        memory[: len(program.image)] = program.image
        for address, data in prepare(program, ids):
            memory[address : address + len(data)] = data
        result = GoldenMachine(config, memory).run(program.entry)
        if result.cause:
            raise RuntimeError(f"the machine stopped: {result}")
        pooled = finish(program, memory).pooled
        exact = forward(model, ids)["pooled"]
        assert pooled is not None and exact is not None, "MiniLM pools"
        found.append(cosine(pooled, exact))
        if show:
            print(f"{found[-1]:.5f}  {len(ids):3} tokens  {sentence[:70]}", flush=True)
    return found, quantised


def records(config: MachineConfig, found: Sequence[float]) -> list[dict[str, object]]:
    """Return the records of a run: the mean and the least cosine."""
    values = {"cosine": float(np.mean(found)), "cosine_least": float(np.min(found))}
    return [
        {
            "name": f"accuracy.minilm.w8.{name}",
            "value": round(value, 5),
            "unit": "",
            "target": TARGETS[name],
            "limit": 1.0,
            "config": config.name,
            "how": "python scripts/accuracy_minilm.py",
        }
        for name, value in values.items()
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the records there")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="report these records only")
    parser.add_argument("--config", default="bench", help="preset or TOML file")
    parser.add_argument("--sentences", type=int, default=len(SENTENCES), help="how many to run")
    parser.add_argument("--quiet", action="store_true", help="only the records")
    options = parser.parse_args(arguments)
    if not 1 <= options.sentences <= len(SENTENCES):
        parser.error(f"--sentences must be 1 to {len(SENTENCES)}, not {options.sentences}")

    config = load_config(options.config)
    found, _ = cosines(config, SENTENCES[: options.sentences], show=not options.quiet)
    report = records(config, found)
    if options.only:
        unknown = sorted(set(options.only) - {str(record["name"]) for record in report})
        if unknown:
            parser.error(f"unknown record {unknown[0]!r}")
        report = [record for record in report if record["name"] in options.only]
    for record in report:
        print(f"{record['name']:34} {record['value']:.5f}   target {record['target']}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
