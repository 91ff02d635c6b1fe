"""A machine whose memory is a DDR3, behind LiteDRAM's controller and models, on a serial line."""

import importlib.util

import pytest
from ddr3_board import DDR3SimBoard

from celosia.config import PRESETS
from celosia.ddr3 import DESCRIPTION, DESCRIPTION_WORDS
from celosia.errors import DeviceError
from celosia.isa import MEMORY_WINDOW
from celosia.runtime.ddr3 import DDR3Host
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.lockstep import LockstepSession
from celosia.runtime.selftest import random_rows, selftest_program
from celosia.runtime.serial_device import SerialDevice

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("litedram", "liteeth", "litescope"))),
    reason="LiteDRAM is not installed (pip install 'celosia[test]')",
)
#: As small as machines are: every byte of the line takes 40 simulated cycles.
CONFIG = PRESETS["tiny"].replace(
    name="ddr3_tiny",
    memory="axi4",
    on_chip_bytes=0,
    scratchpad_words=256,
    exponent_slots=64,
    accumulator_rows=16,
    attention_rows=8,
    parameter_entries=16,
    vector_lanes=1,
)


#: Beats as wide as lines of the DDR3.
WIDE = CONFIG.replace(name="ddr3_wide", rows=8, columns=8, accumulator_rows=32, memory_width=16)
#: Of the part.
SIZE = 1 << 27


@pytest.mark.parametrize("config", [CONFIG, WIDE], ids=lambda config: config.name)
def test_a_machine_on_ddr3_does_what_golden_does(config, tmp_path, monkeypatch):
    program = selftest_program(config)
    with DDR3SimBoard(config, tmp_path / "board") as board:
        golden = GoldenDevice(config).open(program)
        device = SerialDevice(config, board.port, timeout=60, retries=2)
        with device.open(program) as session:
            both = LockstepSession(program, golden, session)
            for seed in range(2):
                both.run(random_rows(program, seed))
            found = both.compare_memory()
            assert found.mismatches == 0, found.differences
            # Next to what was compared, and where there is nothing.
            link = session._link
            for address in (MEMORY_WINDOW + SIZE, DESCRIPTION + 4 * DESCRIPTION_WORDS, 0x6000_0000):
                with pytest.raises(DeviceError, match="the bus answered with an error"):
                    link.read_block(address, 4)
            last = MEMORY_WINDOW + SIZE - 4
            link.write_word(last, 0x1234_5678)
            assert link.read_word(last) == 0x1234_5678
        # It is awake, and keeps what it has.
        monkeypatch.delattr(DDR3Host, "start")
        with device.open(program) as session:
            assert session._link.read_word(last) == 0x1234_5678
