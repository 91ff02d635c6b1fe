"""The records of `make bitstreams`, and their table in the README."""

import importlib.util
import sys
from pathlib import Path

import pytest

from celosia.platforms.boards import BOARDS
from celosia.platforms.fit import check_array_fit, check_fit

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def script(monkeypatch):
    """Import a script by its name."""
    monkeypatch.syspath_prepend(SCRIPTS)

    def load(name):
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_every_job_fits_its_board(script):
    jobs = script("bench_bitstreams").JOBS
    assert {BOARDS[job.board].flow.router for job in jobs} == {
        kind.flow.router for kind in BOARDS.values()
    }
    for job in jobs:
        check = check_fit if job.core is None else check_array_fit
        check(job.config, BOARDS[job.board])


def test_a_record_says_what_was_built_and_its_peak(script, monkeypatch):
    bench = script("bench_bitstreams")
    sizes = {"luts": 3000, "flip_flops": 2000, "multipliers": 16, "block_rams": 7}

    def synthesize_board(config, board, out, *, core, frequency, seeds, report, cache, progress):
        assert (config.multipliers, board, core) == (64, "tang-nano-20k", "systolic")
        assert (frequency, seeds) == (None, 1)
        out.mkdir()
        (out / "x.fs").write_bytes(b"bits")
        more = '"fmax_mhz": 125.0, "timing_met": true, "bitstream": "x.fs"'
        text = ", ".join(f'"{key}": {value}' for key, value in sizes.items())
        report.write_text(f"{{{text}, {more}}}")

    monkeypatch.setattr(bench, "synthesize_board", synthesize_board)
    job = next(job for job in bench.JOBS if job.board == "tang-nano-20k")
    record = bench.fmax(job)
    assert record["value"] == 125
    assert record["peak_gops"] == 16  # 2 · 64 · 125 MHz
    assert record["gops_per_multiplier"] == 1
    assert record["bytes"] == 4 and record["built"] == "8x8 array"
    assert "not loaded" in record["measured"]

    tables = script("readme_tables")
    text = "<!-- bitstreams: bitstream. -->\nold\n<!-- end -->\n"
    record |= {"name": "bitstream.tang-nano-20k.fmax", "seconds": 1234.5}
    assert tables.rewrite(text, [record]) == (
        "<!-- bitstreams: bitstream. -->\n"
        "| board | built | LUT | FF | mult | RAM | MHz | peak GOP/s | per mult | s |\n"
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| tang-nano-20k | 8x8 array | 3,000 | 2,000 | 16 | 7 | 125.0 | 16.00 | 1.000 | 1,234 |\n"
        "<!-- end -->\n"
    )


def test_the_table_of_netlists(script):
    record = {"value": 1, "cells": {"LUT4": 1200, "DFF": 34}, "faults": 3, "caught": 2}
    records = [
        record | {"name": "netlist.gowin.pe.int4"},
        record | {"name": "netlist.ecp5.pe.int4", "caught": 3},
        {"name": "netlist.ecp5.machine", "value": 0, "cells": {"LUT4": 7}},
    ]
    text = "<!-- netlists: netlist. -->\nold\n<!-- end -->\n"
    assert script("readme_tables").rewrite(text, records) == (
        "<!-- netlists: netlist. -->\n"
        "| core | ecp5 | gowin |\n"
        "| --- | --- | --- |\n"
        "| `pe.int4` | equal, 1,234, 3/3 | equal, 1,234, 2/3 |\n"
        "| `machine` | **wrong**, 7, 0/0 | - |\n"
        "<!-- end -->\n"
    )
