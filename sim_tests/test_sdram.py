# amaranth: UnusedElaboratable=no
"""The SDRAM controller on a model of the part that checks every rule of its data sheet."""

import json
from dataclasses import asdict, replace

import pytest
from harness import simulate
from sdram_system import MODEL, ReaderOnSDRAM, SDRAMSystem

from celosia.config import PRESETS
from celosia.sdram_part import PARTS

#: Small, and refreshed as often as the real one: 16 times in 1/512 of its window.
PART = replace(
    PARTS["16Mx16"],
    name="small",
    row_bits=3,
    column_bits=7,
    power_up=2000,
    rows_refreshed=16,
    window=16 * 64e6 / 8192,
    most_mhz=(100, 200),
)


def run(tmp_path, part, frequency, width, cas_latency=None, round_trip=0, testcase=None):
    config = PRESETS["bench"].replace(name=f"width{width}", memory_width=width)
    settings = part.at(frequency, cas_latency)
    return simulate(
        SDRAMSystem(config, part, frequency, settings, round_trip),
        "tb_sdram",
        tmp_path,
        extra_sources=(MODEL,),
        testcase=testcase,
        CONFIG=json.dumps(config.to_dict()),
        SETTINGS=json.dumps(asdict(settings)),
        SIZE=settings.bytes,
    )


@pytest.mark.parametrize(
    ("frequency", "cas_latency", "width", "round_trip"),
    [
        (25, 2, 8, -1),
        (50, 3, 16, 1),
        (100, 2, 4, 0),
        (166, 3, 8, 2),
    ],
)
def test_holds_memory(frequency, cas_latency, width, round_trip, tmp_path):
    run(tmp_path, PART, frequency, width, cas_latency, round_trip)


@pytest.mark.parametrize(("frequency", "width"), [(50, 4), (80, 8), (133, 16)])
def test_the_machine_gets_the_bandwidth(frequency, width, tmp_path):
    config = PRESETS["bench"].replace(name=f"width{width}", memory_width=width)
    part = replace(PARTS["16Mx16"], row_bits=6, power_up=2000)
    settings = part.at(frequency)
    simulate(
        ReaderOnSDRAM(config, part, frequency),
        "tb_sdram_reader",
        tmp_path,
        extra_sources=(MODEL,),
        CONFIG=json.dumps(config.to_dict()),
        SIZE=settings.bytes,
        # Whole groups of refreshes.
        CYCLES=2 * settings.interval * settings.postponed,
    )
