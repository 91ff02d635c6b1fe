# amaranth: UnusedElaboratable=no
"""A whole machine whose weights and program lie in a flash: a model, faults, the two regions."""

from dataclasses import replace

import numpy as np
import pytest
from harness import CACHE

from celosia import generate
from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.cycles import predict
from celosia.compiler.layout import MemoryLayout
from celosia.compiler.program import Program, Section, Tensor
from celosia.config import PRESETS
from celosia.errors import ConfigError, DeviceError, ModelError, ProgramError
from celosia.isa import MEMORY_WINDOW, Instruction, Opcode, Unit, disassemble
from celosia.runtime.compare import compare
from celosia.runtime.devices import window_size
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import prepare
from celosia.runtime.sim_device import SimDevice

CONFIG = PRESETS["tiny_flash"]
BASE = CONFIG.flash_base


def simulated(config=CONFIG) -> SimDevice:
    return SimDevice(
        config, generate.elaborate(config, cache=CACHE / "generated").path, CACHE, quick=True
    )


@pytest.fixture(scope="module")
def digits():
    return compile_model(load_model("digits_vit"), CONFIG)


def test_a_model_runs_from_flash(digits):
    images = np.random.default_rng(2).integers(0, 17, (2, 8, 8)).astype(np.float32)
    inputs = [prepare(digits, image) for image in images]
    with simulated().open(digits) as session:
        batch = session.run_all(inputs)
    found = compare(digits, GoldenDevice(CONFIG).run(digits, inputs), batch)
    assert found.mismatches == 0, "\n".join(map(str, found.differences[:8]))
    assert batch.memory[digits.base :].tobytes() == digits.image
    cycles = batch.runs[0].counters["cycles"]
    predicted = predict(disassemble(digits.code), CONFIG, entry=digits.entry)
    # While the machine runs its pins move a byte nearly all the time.
    total = sum(run.counters["cycles"] for run in batch.runs)
    share = session.report["flash"]["data"] / total
    print(f"share of the flash's pin bandwidth: {share:.3f}")
    assert share > 0.9
    assert 0.97 * cycles < predicted.cycles < 1.03 * cycles


def storing(target: int) -> Program:
    """A program that takes rows from the flash to `target`."""
    rows = {"pitch": 16, "rows": 3, "words": 2, "stride": 2}
    code = [
        Instruction(Opcode.LOAD, rows | {"address": BASE + 192}, signal=frozenset({Unit.STORE})),
        Instruction(Opcode.STORE, rows | {"address": target}, wait=frozenset({Unit.LOAD})),
        Instruction(Opcode.HALT),
    ]
    image = b"".join(one.encode() for one in code)
    return Program(
        config=CONFIG,
        model="storing",
        image=image + np.arange(24, dtype="<i2").tobytes() + bytes(16),
        sections=(Section("out", target, 48),) if target < BASE else (),
        inputs=(),
        outputs=(Tensor("y", target, 16, 3, 8, 1.0),) if target < BASE else (),
        tokens=3,
        entry=BASE,
    )


def test_the_flash_is_read_and_the_chip_is_written():
    for device in (GoldenDevice(CONFIG), simulated()):
        with device.open(storing(BASE - 48)) as session:
            rows = session.run().outputs[BASE - 48]
            assert rows == np.arange(24, dtype="<i2").tobytes()
            session.write(0, b"\x12\x34\x56\x78")
            assert session.read(0, 4) == b"\x12\x34\x56\x78"
            assert session.read(BASE + 192, 8) == rows[:8]


@pytest.mark.parametrize("target", [BASE, BASE - 16])
def test_a_write_to_the_flash_is_a_fault(target):
    said = []
    for device in (GoldenDevice(CONFIG), simulated()):
        program = replace(storing(BASE), image=storing(target).image)
        with device.open(program) as session, pytest.raises(DeviceError) as error:
            session.run()
        said.append(str(error.value).replace(f"({device.name})", ""))
        assert f"memory error, instruction at {BASE + 64:#x} (STORE" in said[-1]
    assert said[0] == said[1]


def test_a_program_too_large_for_either():
    memory = MemoryLayout(CONFIG)
    assert memory.place("weights", bytes(100)) == BASE
    assert memory.link(memory.reserve("activations", BASE)) == 0
    assert [section.address for section in memory.linked_sections("model")] == [BASE, 0]
    memory.reserve("more", 1)
    message = "model: activations take 65600 bytes of memory, but .* has 65536; raise on_chip_bytes"
    with pytest.raises(ModelError, match=message):
        memory.linked_sections("model")
    room = CONFIG.memory_bytes - BASE
    memory = MemoryLayout(CONFIG)
    memory.place("weights", bytes(room + 1))
    message = f"weights and program take {room + 1} bytes of memory, but .* has {room}; lower flash"
    with pytest.raises(ModelError, match=message):
        memory.linked_sections("model")
    with pytest.raises(ProgramError, match="on the chip and in the flash is 12648448; take a larg"):
        window_size(replace(storing(0), image=bytes(room + 64)))


def test_the_description_says_where_the_memory_is():
    memory = generate.elaborate(CONFIG, cache=CACHE / "generated").description["memory_map"]
    said = {"first": MEMORY_WINDOW, "bytes": CONFIG.memory_bytes, "port": "s_axi_lite"}
    assert memory["flash"] == said and set(memory) == {"registers", "flash"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flash_part": "25Q"}, "flash_part must be one of W25Q128, IS25LP128, not '25Q'$"),
        ({"flash_offset": 1000}, "flash_offset must be a multiple of 65536 between 0 and .*, not"),
        ({"on_chip_bytes": 6144}, "on_chip_bytes must be a multiple of 4096 .* with flash memory"),
        ({"on_chip_bytes": 0}, "on_chip_bytes must be positive with on_chip and flash memory"),
        (
            {"watchdog_cycles": 20000},
            "watchdog_cycles must be at least .* the flash takes to start",
        ),
        ({"memory": "on_chip"}, "flash_part is for flash memory, not on_chip; set memory or leave"),
    ],
)
def test_wrong_configurations(changes, message):
    with pytest.raises(ConfigError, match=f"^configuration 'tiny_flash': {message}"):
        CONFIG.replace(**changes)
