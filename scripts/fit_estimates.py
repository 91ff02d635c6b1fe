"""Fits what `celosia.platforms.estimate` says of LUTs and flip-flops to synthesised machines.

What the samples take is kept in `estimate_samples.json`; with `--again` all of them are
synthesised for an ECP5 anew, as a board has them, which takes from 20 s to 3 minutes each. A sample
is a whole machine, or a part alone for what no whole one has. Each coefficient is that of
non-negative least squares of relative errors over the samples of its part. `without` a machine the
fit says what the estimate is worth for it.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from amaranth import Const, Module, Value
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]
from amaranth.hdl import Elaboratable
from numpy.typing import NDArray
from scipy.optimize import nnls

from celosia.atomic import atomic_write
from celosia.config import PRESETS, MachineConfig
from celosia.cores.requant import Requantiser
from celosia.cores.systolic import SystolicArray
from celosia.isa import INSTRUCTION_BYTES
from celosia.platforms import estimate
from celosia.platforms.boards import board
from celosia.platforms.ecp5 import (
    HIDE_ELEMENTS,
    REMOVE_COLLISION_LOGIC,
    ECP5Cells,
    release_carries,
)
from celosia.platforms.ecp5_memory import memories
from celosia.platforms.report import utilisation_by_module
from celosia.platforms.tools import run_tool, tool_version
from celosia.rtl.accumulator_halves import AccumulatorHalves
from celosia.rtl.bridge import UARTBridge
from celosia.rtl.drain import DrainTag
from celosia.rtl.exponents import ExponentFile
from celosia.rtl.load import LoadUnit
from celosia.rtl.memory_reader import MemoryReader
from celosia.rtl.memory_writer import MemoryWriter
from celosia.rtl.on_chip import OnChipMemory
from celosia.rtl.results import ResultRouter
from celosia.rtl.row_streamer import RowStreamer
from celosia.rtl.scratchpad import Scratchpad
from celosia.rtl.sdram import SDRAMMemory
from celosia.rtl.sequencer import InstructionFetch
from celosia.rtl.store import StoreUnit
from celosia.rtl.tile_loader import TileLoader
from celosia.rtl.top import RESERVED_TILES, ROW_BEATS, WEIGHT_BEATS, Accelerator
from celosia.rtl.vector import VectorUnit

#: Board that machines are synthesised for.
BOARD = "ulx3s-85f"
#: Modules of which the parts are counted too.
OPENED = ("", "machine", "machine.matrix")
#: What the samples take.
STORE = Path(__file__).with_name("estimate_samples.json")
TABLE = Path(__file__).parents[1] / "platforms" / "estimate_table.py"
#: Parts that can be synthesised alone.
PARTS: dict[str, Any] = {
    "array": lambda config: SystolicArray(config, config.pe),
    "requantiser": lambda config: Requantiser(config, DrainTag(config)),
    "accumulators": AccumulatorHalves,
    "router": ResultRouter,
    "loader": TileLoader,
    "streamer": RowStreamer,
    "scratchpad": lambda config: Scratchpad(config, readers=4 + config.row_words, writers=3),
    "exponents": lambda config: ExponentFile(config, readers=4),
    "vector": lambda config: VectorUnit(config, write_latency=Scratchpad.write_latency),
    "load": LoadUnit,
    "store": StoreUnit,
    "reader": lambda config: memory_reader(config),
    "writer": MemoryWriter,
    "memory": OnChipMemory,
    "sdram": lambda config: SDRAMMemory(
        config, config.sdram_settings, round_trip=config.sdram_round_trip
    ),
    "board": lambda config: UARTBridge(40),
}
#: What other samples differ in from this one.
SMALLEST = MachineConfig(
    name="smallest",
    rows=2,
    columns=4,
    scratchpad_words=512,
    exponent_slots=32,
    accumulator_rows=64,
    accumulator_width=24,
    attention_rows=16,
    parameter_entries=64,
    vector_lanes=1,
    memory="on_chip",
    memory_width=4,
    on_chip_bytes=1 << 16,
    outstanding_reads=1,
)
SMALL = SMALLEST.replace(
    name="small part",
    rows=4,
    vector_lanes=2,
    scratchpad_words=1024,
    exponent_slots=256,
    accumulator_width=32,
    parameter_entries=256,
    memory_width=8,
    on_chip_bytes=1 << 14,
    outstanding_reads=8,
)
WIDE = SMALL.replace(columns=8, scratchpad_banks=4, attention_rows=32)
ONE_LANE = SMALL.replace(rows=8, vector_lanes=1, memory_width=4)
TALL = SMALL.replace(
    rows=16,
    vector_lanes=8,
    scratchpad_words=2048,
    scratchpad_banks=1,
    accumulator_rows=256,
)
SPARSE = SMALL.replace(columns=8, sparsity=4)
PACKED = SMALL.replace(pe="packed")
#: The samples: machines, and the part of each to synthesise; none for all of it.
SAMPLES: list[tuple[MachineConfig, str | None]] = [
    (SMALLEST, None),
    (PRESETS["mini"], None),
    (PRESETS["tiny"], None),
    (PRESETS["ulx3s"], None),
    (PRESETS["ulx3s_sdram"], "sdram"),
    (WIDE, "reader"),
    (WIDE, "vector"),
    (ONE_LANE, "vector"),
    (TALL, "streamer"),
    (WIDE, "scratchpad"),
    (WIDE, "router"),
    (WIDE, "load"),
    (WIDE, "store"),
    (WIDE, "memory"),
    (WIDE, "requantiser"),
    (PACKED, "array"),
    (PACKED, "accumulators"),
    (SPARSE, "streamer"),
    (PACKED, "loader"),
    (SPARSE, "array"),
]


class Sample(NamedTuple):
    """What the parts of a machine take: `luts` and `flip_flops` of each."""

    config: MachineConfig
    parts: dict[str, dict[str, int]]


class Machine(Elaboratable):
    """A machine alone, without its trace."""

    def __init__(self, config: MachineConfig) -> None:
        self.machine: Any = Accelerator(config)
        self.ports = [self.machine.interrupt]
        for name in ("s_axi_lite", "m_axi"):
            if hasattr(self.machine, name):
                bus = getattr(self.machine, name)
                self.ports += ports_of(bus.signature, bus)

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.machine = self.machine
        return m


def ports_of(signature: Any, interface: Any) -> list[Value]:
    """Return what is not constant of an interface."""
    values = (Value.cast(value) for _, _, value in signature.flatten(interface))
    return [value for value in values if not isinstance(value, Const)]


def memory_reader(config: MachineConfig) -> MemoryReader:
    """Return the memory reader as `Accelerator` makes it."""
    ahead = InstructionFetch.AHEAD * INSTRUCTION_BYTES // config.memory_width
    tiles = RESERVED_TILES * config.tile_bytes // config.memory_width
    reserves = (ahead, 0, min(tiles, WEIGHT_BEATS // 2))
    return MemoryReader(config, depths=[ahead, ROW_BEATS, WEIGHT_BEATS], reserves=reserves)


def synthesise(design: Elaboratable, ports: list[Value], folder: Path) -> dict[str, dict[str, int]]:
    """Synthesise a design; return what of it is of each module: LUTs as placed, and flip-flops."""
    text = rtlil.convert(design, name="top", ports=ports, platform=ECP5Cells(), emit_src=False)
    (folder / "top.il").write_text(text)
    (folder / "top.ys").write_text(
        f"read_rtlil top.il\n{REMOVE_COLLISION_LOGIC}\n{HIDE_ELEMENTS}\n"
        "synth_ecp5 -top top -json top.json\n"
    )
    run_tool("yosys", ["-q", "-l", "yosys.log", "top.ys"], folder, log="yosys.log")
    return count(folder / "top.json")


def synthesise_machine(config: MachineConfig, folder: Path) -> dict[str, dict[str, int]]:
    """Synthesise a machine on a board, or alone if it has its memory at an AXI4 port."""
    if config.memory == "axi4":
        machine = Machine(config)
        return synthesise(machine, machine.ports, folder)
    platform = board(BOARD)
    plan = platform.prepare(
        platform.top(Accelerator(config), config.sdram_mhz or platform.frequency),
        name="top",
        emit_src=False,
        script_after_read=f"{REMOVE_COLLISION_LOGIC}\n{HIDE_ELEMENTS}",
        **platform.flow.overrides,
    )
    plan.extract(folder)
    commands = json.loads(plan.files["build_top.json"])["commands"]
    run_tool("yosys", commands[0][1:], folder, log="top.rpt")
    return count(folder / "top.json")


def count(netlist: Path) -> dict[str, dict[str, int]]:
    """Count what a netlist has of each module: LUTs as the placer counts them, and flip-flops."""
    design = json.loads(netlist.read_text())
    release_carries(design["modules"]["top"])
    complete_chains(design["modules"]["top"])
    netlist.write_text(json.dumps(design))
    modules = utilisation_by_module(netlist, OPENED)
    # Beside the LUTs to read it, a distributed RAM takes the place of two to write it.
    return {
        module: {
            "luts": row["LUT"] + 2 * row["RAM16X4"],
            "flip_flops": row["FF"],
            "multipliers": row["MULT18X18D"],
            "block_rams": row["DP16KD"],
        }
        for module, row in modules.items()
    }


def complete_chains(module: dict[str, Any]) -> None:
    """Add the carry cells that the placer adds: where a chain begins, and where its carry leaves.

    A chain's carry leaves where a LUT reads it, and also where nobody does.
    """
    cells = module["cells"]
    chains = {name: cell for name, cell in cells.items() if cell["type"] == "CCU2C"}
    made = {bit for cell in chains.values() for bit in cell["connections"].get("COUT", ())}
    readers: Counter[int | str] = Counter()
    continued = set()
    for cell in cells.values():
        for port, bits in cell["connections"].items():
            if cell["type"] == "CCU2C" and port == "CIN":
                continued.update(bits)
            elif cell["port_directions"][port] == "input":
                readers.update(bits)
    readers.update(bit for port in module["ports"].values() for bit in port["bits"])
    for name, cell in chains.items():
        begin = cell["connections"].get("CIN", ["x"])
        end = cell["connections"].get("COUT", ["x"])
        added = begin != ["x"] and begin[0] not in made
        added += end != ["x"] and bool(end) and (readers[end[0]] > 0 or end[0] not in continued)
        for number in range(added):
            cells[f"{name}.end_{number}"] = {**cell, "connections": {}}


def measure(config: MachineConfig, part: str | None = None) -> dict[str, dict[str, int]]:
    """Synthesise a machine, or one part of it alone; return what its parts take."""
    found: dict[str, Counter[str]] = {}
    with TemporaryDirectory(prefix="celosia-") as folder:
        if part is None:
            for module, row in synthesise_machine(config, Path(folder)).items():
                found.setdefault(estimate.part_of(module, config), Counter()).update(row)
        else:
            core = PARTS[part](config)
            rows = synthesise(core, ports_of(core.signature, core), Path(folder)).values()
            found[part] = sum((Counter(row) for row in rows), Counter())
    return {name: dict(row) for name, row in sorted(found.items())}


def key(config: MachineConfig, part: str | None) -> str:
    """Return the name of a sample in the store; parameters that have their default do not count."""
    sizes = {
        field.name: getattr(config, field.name)
        for field in fields(config)
        if field.name != "name" and getattr(config, field.name) != field.default
    }
    digest = sha256(json.dumps([sizes, part], sort_keys=True).encode()).hexdigest()[:8]
    return f"{config.name} {part or 'whole'} {digest}"


def synthesise_samples(*, again: bool = False) -> None:
    """Synthesise the samples that are not in the store, or all of them."""
    kept = {} if again or not STORE.exists() else json.loads(STORE.read_text())
    for config, part in SAMPLES:
        name = key(config, part)
        if name not in kept:
            print(f"synthesising {name}", flush=True)
            kept[name] = measure(config, part)
            atomic_write(STORE, json.dumps(kept, indent=1) + "\n")


def samples() -> list[Sample]:
    """Return the samples in the store.

    Raises
    ------
    KeyError
        If one is missing: this script adds it.
    """
    kept = json.loads(STORE.read_text())
    return [Sample(config, kept[key(config, part)]) for config, part in SAMPLES]


def fit_all(found: Sequence[Sample]) -> dict[str, dict[str, list[float]]]:
    """Return the coefficients of the features of all parts."""
    return {
        part: {
            kind: [
                round(float(value), 4)
                for value in fit(
                    part, kind, [(s.config, s.parts[part][kind]) for s in found if part in s.parts]
                )
            ]
            for kind in estimate.KINDS
        }
        for part in estimate.FEATURES
    }


def fit(part: str, kind: str, rows: Sequence[tuple[MachineConfig, int]]) -> NDArray[np.float64]:
    """Return the coefficients of a part's features."""
    features = estimate.FEATURES[part][estimate.KINDS.index(kind)]
    if not rows:
        return np.zeros(len(features))
    matrix = [[feature(config) for feature in features] for config, _ in rows]
    stored = [
        sum(memory.luts for memory in memories(config) if memory.part == part)
        if kind == "luts"
        else 0
        for config, _ in rows
    ]
    there = np.array([value for _, value in rows], float)
    weights = 1 / np.maximum(there, 1)
    # Sizes of very different order: each column of the matrix is scaled to 1.
    scaled = np.array(matrix, float) * weights[:, None]
    scale = np.maximum(scaled.max(axis=0), 1e-12)
    found, _ = nnls(scaled / scale, (there - stored) * weights)
    return found / scale


def predicted(
    config: MachineConfig, part: str, kind: str, coefficients: Sequence[float] | NDArray[np.float64]
) -> float:
    """Return what these coefficients say of a part."""
    features = estimate.FEATURES[part][estimate.KINDS.index(kind)]
    stored = sum(memory.luts for memory in memories(config) if memory.part == part)
    grown = sum(c * feature(config) for c, feature in zip(coefficients, features, strict=True))
    return grown + (stored if kind == "luts" else 0)


def total(
    config: MachineConfig,
    kind: str,
    table: Mapping[str, Mapping[str, Sequence[float]]],
    parts: Iterable[str],
) -> float:
    """Return what a table says of a whole machine, of these parts."""
    return sum(predicted(config, part, kind, table[part][kind]) for part in parts)


def without(config: MachineConfig) -> dict[str, dict[str, list[float]]]:
    """Return the coefficients that are fitted to the samples of other machines."""
    return fit_all([sample for sample in samples() if sample.config != config])


def main() -> None:
    """Fit the coefficients, print errors and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--again", action="store_true", help="synthesise all samples anew")
    synthesise_samples(again=parser.parse_args().again)
    found = samples()
    table = fit_all(found)
    print("errors of whole machines: fitted to all, and to all but this one")
    for sample in found:
        if len(sample.parts) > 1:
            others = without(sample.config)
            for kind in estimate.KINDS:
                there = sum(row[kind] for row in sample.parts.values())
                errors = [
                    total(sample.config, kind, one, sample.parts) / there - 1
                    for one in (table, others)
                ]
                print(f"{sample.config.name:10} {kind:10} {errors[0]:+7.1%} {errors[1]:+7.1%}")
    write(table, len(found))


def write(table: dict[str, dict[str, list[float]]], count: int) -> None:
    """Write the table as Python."""
    lines = [
        '"""What one of each feature of a part takes of an ECP5; see `celosia.platforms.estimate`.',
        "",
        f"Written by scripts/fit_estimates.py from {count} samples, with",
        f"{tool_version('yosys').partition(' (')[0]}.",
        '"""',
        "",
        '__all__ = ["COEFFICIENTS"]',
        "",
        "COEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {",
    ]
    for part, kinds in table.items():
        lines.append(f'    "{part}": {{')
        for kind, values in kinds.items():
            text = ", ".join(f"{value:g}" for value in values) + ("," if len(values) == 1 else "")
            lines.append(f'        "{kind}": ({text}),')
        lines.append("    },")
    atomic_write(TABLE, "\n".join([*lines, "}", ""]))


if __name__ == "__main__":
    main()
