# amaranth: UnusedElaboratable=no
"""The flash reader, and its memory on the chip, on a model of the part that checks every rule."""

import json
from dataclasses import replace

import numpy as np
import pytest
from amaranth import ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from harness import CACHE, emit

from celosia.config import PRESETS
from celosia.errors import CheckFailed
from celosia.flash_part import FLASH_PARTS
from celosia.rtl.axi import AXI4Read, AXI4Write
from celosia.rtl.flash_memory import FlashMemory
from celosia.rtl.on_chip import HostAccess
from celosia.runtime.flash_model import model_parameters
from celosia.runtime.sim_device import HARNESS
from celosia.runtime.verilator import build_simulation, run_simulation

CONFIG = PRESETS["tiny_flash"].replace(on_chip_bytes=8192)
#: Wakes soon.
QUICK = {"power_up": 900, "release": 300, "reset": 500, "write": 700}


class FlashSystem(wiring.Component):
    """`FlashMemory` and its part; `violation` and `reads` are what the part says."""

    def __init__(self, config, part):
        self.config, self.part = config, part
        super().__init__({
            "read": In(AXI4Read(config)),
            "write": In(AXI4Write(config)),
            "host": In(stream.Signature(HostAccess)),
            "host_data": Out(stream.Signature(32)),
            "violation": Out(8),
            "reads": Out(32),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = FlashMemory(self.config, self.part)
        for name in ("read", "write", "host"):
            connect(m, flipped(getattr(self, name)), getattr(memory, name))
        connect(m, memory.host_data, flipped(self.host_data))
        parameters = model_parameters(self.part, self.config.flash_offset)
        pins = memory.pins
        m.submodules.part = Instance(
            "flash_model",
            *[("p", name, value) for name, value in parameters.items()],
            *[("i", name, getattr(pins, name)) for name in ("cs", "dq_o", "dq_oe")],
            ("i", "clk", ClockSignal()),
            ("i", "rst", ResetSignal()),
            ("i", "sck", pins.clk),
            ("o", "dq_i", pins.dq_i),
            ("o", "violation", self.violation),
            ("o", "reads", self.reads),
            ("o", "doing", Signal(2)),
        )
        return m


def run(folder, part, config, *, testcase=None, **changes):
    """Run the bench; plusargs may make the model another part, or leave it in another state."""
    image = np.random.default_rng(3).integers(0, 256, 20000, np.uint8).tobytes()
    (folder / "image").write_bytes(image)
    dut = FlashSystem(config, part)
    simulation = build_simulation(
        emit(dut, folder / "top.v"), "top", CACHE, extra_sources=(HARNESS / "sim_flash.v",)
    )
    env = {
        "CONFIG": json.dumps(config.to_dict()),
        "IMAGE": folder / "image",
        "END": config.memory_bytes,
        "DUMMY": part.dummy,
        "APART": part.cycles(part.deselect),
    }
    plusargs = [
        f"+{name}={value}" for name, value in {"flash": folder / "image", **changes}.items()
    ]
    run_simulation(simulation, "tb_flash", folder, env=env, plusargs=plusargs, testcase=testcase)


WINBOND = replace(FLASH_PARTS["W25Q128"], **QUICK), CONFIG
ISSI = replace(FLASH_PARTS["IS25LP128"], **QUICK, dummy=6), CONFIG.replace(memory_width=8)


@pytest.mark.parametrize(("part", "config"), [WINBOND, ISSI], ids=["winbond", "issi"])
def test_one_memory_of_chip_and_flash(part, config, tmp_path):
    run(tmp_path, part, config, quad=0)


@pytest.mark.parametrize("left", [1, 2, 3])
def test_the_part_may_be_left_in_any_state(left, tmp_path):
    run(tmp_path, *WINBOND, left=left, testcase="nothing_beyond_the_end_and_no_writes")


@pytest.mark.parametrize(
    ("made", "change", "message"),
    [
        (WINBOND, {"power_up": 1500}, "rule 1 broken"),
        (WINBOND, {"deselect": 120}, "rule 2 broken"),
        (WINBOND, {"release": 500}, "rule 5 broken"),
        (WINBOND, {"reset": 700}, "rule 5 broken"),
        (ISSI, {"quad": 0, "write": 100_000}, "rule 5 broken"),
        (WINBOND, {"dummy": 3}, "nothing_beyond_the_end_and_no_writes: assert"),
        (WINBOND, {"dummy": 5}, "nothing_beyond_the_end_and_no_writes: assert"),
    ],
)
def test_the_model_is_as_strict_as_the_part(made, change, message, tmp_path):
    part, config = made
    with pytest.raises(CheckFailed, match=message):
        run(tmp_path, part, config, testcase="nothing_beyond_the_end_and_no_writes", **change)
