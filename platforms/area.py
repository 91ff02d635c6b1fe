"""Size and speed of one core on an ECP5, alone: synthesis, placement and routing by open tools."""

import json
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from amaranth import Const, Module, Signal, Value
from amaranth.back import rtlil  # pyright: ignore[reportAttributeAccessIssue]
from amaranth.hdl import Elaboratable
from amaranth.lib.wiring import Component, Flow

from celosia.platforms.ecp5 import HIDE_ELEMENTS, ECP5Cells, release_carries
from celosia.platforms.tools import run_tool

__all__ = ["Registered", "measure_core", "synthesize_core"]

_PACKAGE = "CABGA756"


class Registered(Elaboratable):
    """A component between registers, one at each bit of its ports.

    Thereby every path of the component starts and ends at a register. The wrapper has no logic.

    Parameters
    ----------
    component : Component
        What to wrap.

    Attributes
    ----------
    ports : list of Signal
        Ports of the wrapper, named as those of the component.
    """

    def __init__(self, component: Component) -> None:
        self.component: Any = component
        self._pairs: list[tuple[Flow, Value, Signal]] = []
        for path, member, value in component.signature.flatten(component):
            inner = Value.cast(value)
            if not isinstance(inner, Const):  # such is the `ready` of a stream that never waits
                port = Signal(len(inner), name="__".join(map(str, path)))
                self._pairs.append((member.flow, inner, port))
        self.ports = [port for _, _, port in self._pairs]

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.core = self.component
        for flow, inner, port in self._pairs:
            if flow is Flow.In:
                register = Signal.like(port, name=f"{port.name}_register")
                m.d.sync += register.eq(port)
                m.d.comb += inner.eq(register)
            else:
                m.d.sync += port.eq(inner)
        return m


def measure_core(
    component: Component,
    *,
    device: str = "85k",
    speed: int = 6,
    frequency: float = 150,
    seeds: int = 1,
    platform: object | None = None,
    build: Path | None = None,
) -> dict[str, int | float]:
    """Synthesise, place and route a component alone, and count what it takes.

    Parameters
    ----------
    component : Component
        What to measure, not yet elaborated.
    device : str
        ECP5 size: 25k, 45k or 85k.
    speed : int
        Speed grade: 6, 7 or 8.
    frequency : float
        Clock that the placer aims at, in MHz.
    seeds : int
        Placements to try, with seeds 1 to this; the fastest one counts.
    platform : object, optional
        Hooks for vendor cells; `ECP5Cells` by default.
    build : Path, optional
        Folder to work in and to keep; a temporary one by default.

    Returns
    -------
    dict
        `LUT4` (without those in carry cells) and `CCU2C` after synthesis; `comb` (LUTs placed,
        carry cells included, two for each), `FF` (without those of the wrapper), `MULT18X18D` and
        `DP16KD` after packing; `fmax_mhz` after routing; `seed`.

    Raises
    ------
    ValueError
        If `seeds` is not positive.
    ToolError
        If a tool is missing or fails.
    """
    if seeds < 1:
        raise ValueError(f"seeds must be positive, not {seeds}")
    wrapped = Registered(component)
    with ExitStack() as stack:
        if build is None:
            build = Path(stack.enter_context(TemporaryDirectory()))
        cells = synthesize_core(wrapped, build, ports=wrapped.ports, platform=platform)
        wrapper_flip_flops = _count_flip_flops_at_ports(build)
        options = f"--{device} --speed {speed} --freq {frequency}"
        reports = {seed: _route(build, f"{options} --seed {seed}") for seed in range(1, seeds + 1)}

    seed = max(reports, key=lambda seed: _fmax(reports[seed]))
    used = {name: entry["used"] for name, entry in reports[seed]["utilization"].items()}
    return {
        "LUT4": cells["LUT4"],
        "CCU2C": cells["CCU2C"],
        "comb": used["TRELLIS_COMB"],
        "FF": used["TRELLIS_FF"] - wrapper_flip_flops,
        "MULT18X18D": used["MULT18X18D"],
        "DP16KD": used["DP16KD"],
        "fmax_mhz": round(_fmax(reports[seed]), 1),
        "seed": seed,
    }


def synthesize_core(
    design: Elaboratable,
    build: Path,
    *,
    ports: list[Signal] | None = None,
    platform: object | None = None,
) -> Counter[str]:
    """Synthesise a design for ECP5, as `top.json` and `top.v` in the folder `build`.

    Parameters
    ----------
    design : Elaboratable
        What to synthesise.
    build : Path
        Folder to work in.
    ports : list of Signal, optional
        Its ports; those of its signature by default.
    platform : object, optional
        Hooks for vendor cells; `ECP5Cells` by default.

    Returns
    -------
    Counter of str
        Number of cells of each type.

    Raises
    ------
    ToolError
        If the tool is missing or fails.
    """
    platform = ECP5Cells() if platform is None else platform
    text = rtlil.convert(design, name="top", ports=ports, platform=platform)
    (build / "top.il").write_text(text)
    (build / "top.ys").write_text(
        f"read_rtlil top.il\n{HIDE_ELEMENTS}\n"
        "synth_ecp5 -top top -json top.json\nwrite_verilog top.v\n"
    )
    run_tool("yosys", ["-q", "-l", "yosys.log", "top.ys"], build, log="yosys.log")
    netlist = json.loads((build / "top.json").read_text())
    release_carries(netlist["modules"]["top"])
    (build / "top.json").write_text(json.dumps(netlist))
    return Counter(cell["type"] for cell in _netlist(build)["cells"].values())


def _netlist(build: Path) -> dict[str, Any]:
    return json.loads((build / "top.json").read_text())["modules"]["top"]


def _count_flip_flops_at_ports(build: Path) -> int:
    """Count the flip-flops that a wrapper left: synthesis drops those of unused ports."""
    netlist = _netlist(build)
    bits = [bit for port in netlist["ports"].values() for bit in port["bits"]]
    at_ports = {bit for bit in bits if isinstance(bit, int)}  # the others are constants
    pins = [c["connections"] for c in netlist["cells"].values() if c["type"] == "TRELLIS_FF"]
    return sum(not at_ports.isdisjoint([*pin.get("DI", []), *pin.get("Q", [])]) for pin in pins)


def _route(build: Path, options: str) -> dict[str, Any]:
    """Place and route `top.json` alone and return the tool's report."""
    log = "nextpnr-ecp5.log"
    arguments = f"-q -l {log} {options} --package {_PACKAGE} --out-of-context"
    arguments += " --timing-allow-fail --json top.json --report report.json"
    run_tool("nextpnr-ecp5", arguments.split(), build, log=log)
    return json.loads((build / "report.json").read_text())


def _fmax(report: dict[str, Any]) -> float:
    """Frequency that every clock reaches, in MHz; 0 without clocked paths."""
    return min((clock["achieved"] for clock in report["fmax"].values()), default=0.0)
