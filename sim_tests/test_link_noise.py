"""The host's link and the bridge with frames dropped, corrupted, repeated and delayed."""

import json
from pathlib import Path

import pytest
from harness import CACHE, emit
from ledger import LedgerOnLine

from celosia.runtime.sim_device import HARNESS
from celosia.runtime.verilator import build_simulation, run_simulation

__all__ = ["line_simulation", "through_noise"]

TOP = Path(__file__).with_name("serial_top.v")


def line_simulation(dut, divisor, build, **options):
    """Return a simulation of `dut` at the end of a serial line."""
    return netlist_on_line([emit(dut, build / "top.v")], divisor, build, **options)


def netlist_on_line(sources, divisor, build, *, flash="", **options):
    """Return the same of Verilog, with a module `top`; `flash` has the parameters of its flash."""
    top = build / "serial_top.v"
    defines = f"`define DIVISOR {divisor}\n"
    if flash:
        defines += f"`define FLASH {flash}\n"
        sources = [*sources, HARNESS / "sim_flash.v"]
    top.write_text(defines + TOP.read_text())
    return build_simulation(top, "serial_top", CACHE, extra_sources=sources, timing=True, **options)


def through_noise(build, *, divisor=4, frames=0, blocks=0, **shares):
    """Run `tb_link_noise`; return what it found."""
    record = build / "record.json"
    env = {"FRAMES": frames, "BLOCKS": blocks, "SHARES": json.dumps(shares), "RECORD": record}
    simulation = line_simulation(LedgerOnLine(divisor), divisor, build)
    run_simulation(simulation, "tb_link_noise", build, env=env | {"DIVISOR": divisor})
    return json.loads(record.read_text())


NOISES = {
    "none": {},
    "loss": {"dropped": 0.05, "corrupted": 0.05},
    "echoes": {"repeated": 0.2, "delayed": 0.02},
    "everything": {"dropped": 0.08, "corrupted": 0.08, "repeated": 0.08, "delayed": 0.04},
}


@pytest.mark.parametrize("name", NOISES)
def test_nothing_is_lost_or_done_twice(name, tmp_path):
    shares = NOISES[name]
    found = through_noise(tmp_path, frames=400, blocks=12, **shares)
    assert found["ledger"] == {"next": 400, "lost": 0, "repeated": 0}
    for counts in found["noise"]:
        assert counts["frames"] > 400
        for kind in shares:
            assert counts[kind] > 0.5 * shares[kind] * counts["frames"]
    if not shares:
        assert found["statistics"]["repeated"] == found["statistics"]["timeouts"] == 0
