# amaranth: UnusedElaboratable=no
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from amaranth import Module, Signal, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from contracts import KeepsStreamRules
from harness import emit, prove, simulate

from celosia.errors import CheckFailed, ToolError
from celosia.runtime import verilator
from celosia.runtime.verilator import build_simulation, run_simulation
from celosia.runtime.verilator_tools import module_ports, verilator_environment


class Stage(wiring.Component):
    """A register; with `leaky`, one that drops what it cannot hold."""

    i: In(stream.Signature(signed(8)))
    o: Out(stream.Signature(signed(8)))

    def __init__(self, *, leaky: bool = False) -> None:
        self.leaky = leaky
        super().__init__()

    def elaborate(self, platform) -> Module:
        m = Module()
        count = Signal(8)
        hidden = Signal(8)

        free = self.o.ready | ~self.o.valid
        m.d.comb += self.i.ready.eq(1 if self.leaky else free)
        with m.If(free):
            m.d.sync += [self.o.payload.eq(self.i.payload), self.o.valid.eq(self.i.valid)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [count.eq(count + 1), hidden.eq(hidden ^ count)]
        return m


def test_simulate_runs_every_test(tmp_path):
    assert simulate(Stage(), "tb_harness", tmp_path, visible=("count",), OFFSET=0) == 4


def test_simulate_fails_with_the_bench(tmp_path):
    with pytest.raises(pytest.fail.Exception, match=r"2 of 4 tests failed(?s:.)*keeps_order"):
        simulate(Stage(), "tb_harness", tmp_path, visible=("count",), OFFSET=1)


def test_simulate_fails_with_the_simulator(tmp_path):
    with pytest.raises(pytest.fail.Exception, match=r"ended early"):
        simulate(Stage(), "tb_harness", tmp_path, visible=("count",), OFFSET=0, CRASH=1)


def test_simulate_fails_without_tests(tmp_path):
    with pytest.raises(pytest.fail.Exception, match=r"ended early(?s:.)*tb_missing"):
        simulate(Stage(), "tb_missing", tmp_path, visible=("count",))


def test_equal_designs_are_built_once(tmp_path, monkeypatch):
    compiled = []
    compile_ = verilator._compile
    monkeypatch.setattr(
        verilator, "_compile", lambda *a, **k: (compiled.append(a), compile_(*a, **k))
    )
    sources = [tmp_path / "one.v", tmp_path / "two.v"]
    for source in sources:
        emit(Stage(), source)
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(
            lambda source: build_simulation(source, "top", tmp_path / "cache"), sources
        )
    assert first == second
    assert len(compiled) == 1
    with pytest.raises(CheckFailed, match="sees_only_what_was_named"):
        run_simulation(
            first, "tb_harness", tmp_path, testcase="sees_only_what_was_named", env={"OFFSET": 0}
        )


def test_whatever_changes_the_simulation_changes_the_build(tmp_path, monkeypatch):
    monkeypatch.setattr(verilator, "_compile", lambda work, top, *_, **__: (work / top).touch())
    text = "module top(input clk);\nendmodule\nmodule other(input clk);\nendmodule\n"
    for name in ("a", "same"):
        (tmp_path / f"{name}.v").write_text(text)
    (tmp_path / "changed.v").write_text(text + "// changed\n")

    def build(name="a", top="top", **options):
        return build_simulation(tmp_path / f"{name}.v", top, tmp_path / "cache", **options)

    builds = [
        build(),
        build("changed"),
        build(top="other"),
        build(visible=["x"]),
        build(threads=2),
        build(timing=True),
        build(waves=True),
        build(lint=True),
        build(quick=False),
        build(extra_sources=[tmp_path / "changed.v"]),
    ]
    assert len({simulation.directory for simulation in builds}) == len(builds)
    assert build("same") == builds[0]


def test_broken_verilog_is_refused_and_not_kept(tmp_path):
    source = tmp_path / "broken.v"
    source.write_text("module top(input clk, output o);\n  assign o = nothing_there;\nendmodule\n")
    with pytest.raises(ToolError, match=r"broken\.v: Verilator cannot build it:\n.*nothing_there"):
        build_simulation(source, "top", tmp_path / "cache")
    assert [entry.suffix for entry in (tmp_path / "cache").iterdir()] == [".lock"]


def test_lint_makes_warnings_errors(tmp_path):
    source = tmp_path / "loop.v"
    source.write_text("module top(input clk, output o);\n  assign o = o & clk;\nendmodule\n")
    with pytest.raises(ToolError, match="UNOPTFLAT"):
        build_simulation(source, "top", tmp_path / "cache", lint=True)


@pytest.mark.parametrize("missing", ["g++", "make", "perl"])
def test_missing_tool_is_named(tmp_path, monkeypatch, missing):
    which = verilator.shutil.which
    monkeypatch.setattr(
        verilator.shutil, "which", lambda name: None if name == missing else which(name)
    )
    verilator_environment.cache_clear()
    source = emit(Stage(), tmp_path / "top.v")
    with pytest.raises(
        ToolError, match=rf"simulation needs {missing.replace('+', '.')}, not found"
    ):
        build_simulation(source, "top", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_ports_of_both_styles():
    text = """
    module other(input x); endmodule
    module top #(parameter W = 8, parameter D = 2) (
        input wire clk, // the clock, of course
        (* keep *) input [W-1:0] a, b,
        output reg signed [7:0] \\o.x
    );
    """
    assert module_ports(text, "top") == ["clk", "a", "b", "o.x"]
    assert module_ports("module top(clk, rst, i__valid);\n", "top") == ["clk", "rst", "i__valid"]
    with pytest.raises(ToolError, match="no module 'main' with ports"):
        module_ports(text, "main")


@pytest.mark.parametrize("mode", ["prove", "cover"])
def test_contract_holds(tmp_path, mode):
    assert "DONE (PASS" in prove(KeepsStreamRules(Stage(), capacity=1), tmp_path, mode=mode)


def test_contract_catches_a_lost_item(tmp_path):
    with pytest.raises(AssertionError, match="FAIL"):
        prove(KeepsStreamRules(Stage(leaky=True), capacity=1), tmp_path, mode="bmc")


def test_proofs_run_without_an_activated_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", os.defpath)
    prove(KeepsStreamRules(Stage(), capacity=1), tmp_path)
