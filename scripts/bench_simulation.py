"""Measures how fast the simulated machine runs, under cocotb, on products that fill its array."""

from functools import partial

import numpy as np
from records import Measurement, main

from celosia import isa
from celosia.cli.machines import open_simulation
from celosia.compiler.program import Program, Section, Tensor
from celosia.config import PRESETS, MachineConfig
from celosia.isa import Flag, Instruction, Opcode, Unit
from celosia.runtime.compare import mac_cycles, require_equal
from celosia.runtime.golden_device import GoldenDevice

#: Rows, channels and reduction of one product, and how many there are.
SHAPE, PRODUCTS = (128, 256, 256), 10


def products(config: MachineConfig) -> Program:
    """Return a program of equal products, their weights streaming from memory."""
    m, n, k = SHAPE
    lanes, words = config.lanes, k // config.lanes
    rng = np.random.default_rng(1)
    entries = np.zeros((n, 8), np.uint8)
    entries[:, :4].view("<u2")[:] = np.stack([np.full(n, 20000), np.full(n, 25)], axis=1)
    data = {
        "parameters": entries.tobytes(),
        "weights": rng.integers(-128, 128, n * k, np.int8).tobytes(),
    }
    code_bytes = (PRODUCTS + 4) * isa.INSTRUCTION_BYTES
    at, sections = code_bytes, [Section("code", 0, code_bytes)]
    for name, content in data.items():
        sections.append(Section(name, at, len(content)))
        at += len(content)
    rows_in, rows_out = m * k * 2, m * n * 2
    sections += [Section("x", at, rows_in), Section("y", at + rows_in, rows_out)]
    place = {section.name: section.address for section in sections}

    y_base = m * words
    rows = {"rows": m, "words": words, "pitch": 2 * k, "stride": words}
    product = {
        "m": m,
        "n": n,
        "k_tiles": k // config.rows,
        "x_stride": words,
        "y_base": y_base,
        "y_stride": n // lanes,
        "y_slot": m,
        "w_address": place["weights"],
    }
    wait, signal = frozenset, frozenset
    code = [
        Instruction(
            Opcode.LOAD,
            {"space": isa.Space.PARAMETERS, "address": place["parameters"], "rows": 1, "words": n},
        ),
        Instruction(Opcode.LOAD, {"address": place["x"], **rows}, signal=signal({Unit.MATRIX})),
    ]
    for index in range(PRODUCTS):
        first, last = index == 0, index == PRODUCTS - 1
        code.append(
            Instruction(
                Opcode.MATMUL,
                product,
                Flag.WEIGHTS_IN_MEMORY,
                wait=wait({Unit.LOAD} if first else ()),
                signal=signal({Unit.STORE} if last else ()),
            )
        )
    store = {"address": place["y"], "base": y_base, "rows": m, "words": n // lanes}
    store |= {"pitch": 2 * n, "stride": n // lanes}
    code += [
        Instruction(Opcode.STORE, store, wait=wait({Unit.MATRIX})),
        Instruction(Opcode.HALT),
    ]
    return Program(
        config=config,
        model="products",
        image=isa.assemble(code) + b"".join(data.values()),
        sections=tuple(sections),
        inputs=(Tensor("x", place["x"], 2 * k, m, k, 1.0),),
        outputs=(Tensor("y", place["y"], 2 * n, m, n, 1.0),),
        tokens=m,
    )


def measure(preset: str) -> dict[str, object]:
    """Run the products on golden machine and RTL, compare, and return what the record says."""
    config = PRESETS[preset]
    program = products(config)
    rng = np.random.default_rng(2)
    rows = rng.integers(-(1 << 15), 1 << 15, (SHAPE[0], SHAPE[2]), np.int16)
    inputs = [[(program.inputs[0].address, rows.astype("<i2").tobytes())]]
    batch = open_simulation(config).run(program, inputs)
    found = require_equal(program, GoldenDevice(config).run(program, inputs), batch)
    cycles = batch.runs[0].counters["cycles"]
    return {
        "value": round(batch.cycles / batch.seconds),
        "cycles_per_cpu_second": round(batch.cycles / batch.cpu_seconds),
        "cycles": cycles,
        "mac_cycles": mac_cycles(program),
        "utilisation": mac_cycles(program) / cycles,
        "bytes_compared": found.bytes_compared,
        "mismatches": found.mismatches,
    }


MEASUREMENTS = [
    Measurement(
        "sim.cycles_per_second.bench16",
        200_000,
        None,
        "cycles/s",
        "bench",
        partial(measure, "bench"),
    )
]

if __name__ == "__main__":
    main(str(__doc__), "bench_simulation.py", MEASUREMENTS)
