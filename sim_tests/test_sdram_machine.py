# amaranth: UnusedElaboratable=no
"""A whole machine with an SDRAM at its pins: refreshes, the host's window, broken rules."""

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
from celosia.errors import CheckFailed, ModelError, ProgramError
from celosia.isa import MEMORY_WINDOW, Instruction, Opcode, Unit, disassemble
from celosia.rtl.registers import HostRegisters
from celosia.runtime import sim_device
from celosia.runtime.compare import compare
from celosia.runtime.devices import window_size
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import prepare
from celosia.runtime.sim_device import SimDevice

#: With a burst of four words, the longer CAS latency, and the part's clock upside down.
CONFIG = PRESETS["tiny"].replace(
    name="sdram_tiny",
    memory="sdram",
    memory_width=8,
    on_chip_bytes=0,
    sdram_part="16Mx16",
    sdram_mhz=133,
    sdram_round_trip=-1,
)
#: Off the ends of the part's rows, which have 1 KB.
IN, OUT, CODE = 0x3F8, 0x8FE8, 0xC000
ROWS, WORDS = 37, 5


def simulated(config=CONFIG) -> SimDevice:
    return SimDevice(
        config, generate.elaborate(config, cache=CACHE / "generated").path, CACHE, quick=True
    )


def copying(times: int) -> Program:
    """A program that takes rows of odd sizes there and back, again and again."""
    pitch = WORDS * CONFIG.word_bytes
    wide = pitch + 24
    rows = {"rows": ROWS, "words": WORDS, "stride": WORDS}
    load, store = frozenset({Unit.LOAD}), frozenset({Unit.STORE})
    none = frozenset()
    places = [{"address": IN, "pitch": pitch, **rows}, {"address": OUT, "pitch": wide, **rows}]
    code = []
    for time in range(times):
        source, target = places if time % 2 == 0 else places[::-1]
        first, last = time == 0, time == times - 1
        code += [
            Instruction(Opcode.LOAD, source, wait=none if first else store, signal=store),
            Instruction(Opcode.STORE, target, wait=load, signal=none if last else load),
        ]
    image = b"".join(one.encode() for one in [*code, Instruction(Opcode.HALT)])
    columns = WORDS * CONFIG.lanes
    return Program(
        config=CONFIG,
        model="copying",
        image=bytes(CODE) + image,
        sections=(
            Section("in", IN, ROWS * pitch),
            Section("out", OUT, ROWS * wide),
            Section("code", CODE, len(image)),
            Section("zeros", CODE + len(image), 1000),  # not in the image
        ),
        inputs=(Tensor("x", IN, pitch, ROWS, columns, 1.0),),
        outputs=(Tensor("y", OUT, wide, ROWS, columns, 1.0),),
        tokens=ROWS,
        entry=CODE,
    )


def test_every_byte_outlives_refreshes_and_row_changes():
    program = copying(25)
    rng = np.random.default_rng(5)
    x = rng.integers(-(1 << 15), 1 << 15, (ROWS, WORDS * CONFIG.lanes), np.int16)
    inputs = [[(IN, x.tobytes())], [(IN, (~x).tobytes())]]
    with simulated().open(program) as session:
        batch = session.run_all(inputs)
    found = compare(program, GoldenDevice(CONFIG).run(program, inputs), batch)
    assert found.mismatches == 0, "\n".join(map(str, found.differences[:8]))
    run = batch.runs[1]
    rows = np.frombuffer(run.outputs[OUT], np.int16).reshape(ROWS, -1)[:, : x.shape[1]]
    np.testing.assert_array_equal(rows, ~x)
    # What the part did while the machine ran: all beats of both ways, and groups of refreshes.
    spent = session.report["sdram"]
    beats = sum(run.counters[f"memory_{way}"] for run in batch.runs for way in ("reads", "writes"))
    assert spent["words"] == CONFIG.memory_width // 2 * beats
    settings = CONFIG.sdram_settings
    cycles = sum(run.counters["cycles"] for run in batch.runs)
    due = cycles / settings.interval * settings.rfc
    assert cycles > 2 * settings.interval * settings.postponed
    assert 0.5 * due < spent["refreshes"] < 2 * due
    assert 0 < spent["rows"] < cycles - spent["words"] - spent["refreshes"]


def test_the_host_and_the_machine_see_one_memory():
    program = copying(1)
    with simulated().open(program) as session:
        last = CONFIG.memory_bytes - 4
        for address, value in ((0, 0x01234567), (0x7C, 0x89ABCDEF), (last, 0xFEDCBA98)):
            session._send([f"W {MEMORY_WINDOW + address:x} {value:x}"])
        session._send([f"R {MEMORY_WINDOW + address:x}" for address in (0, 0x7C, last)])
        assert session._answers(3) == [0x01234567, 0x89ABCDEF, 0xFEDCBA98]
        assert session.read(0, 4) == bytes.fromhex("67452301")
        assert session.read(0x78, 12) == bytes(4) + bytes.fromhex("EFCDAB89") + bytes(4)
        session.write(0x80, bytes(range(8)))
        session._send([f"R {MEMORY_WINDOW + address:x}" for address in (0x80, 0x84)])
        assert session._answers(2) == [0x03020100, 0x07060504]


def test_the_model_is_as_strict_as_the_part(monkeypatch):
    """The machine keeps to its part's rules; one that wants more time finds them broken."""
    device = simulated()
    part = sim_device.PARTS["16Mx16"]
    monkeypatch.setitem(sim_device.PARTS, "16Mx16", replace(part, rcd=part.rcd + 10))
    with pytest.raises(CheckFailed, match="the machine broke the protocol of its memory port"):
        device.run(copying(1), [[(IN, bytes(4))]])


def test_cycles_are_predicted():
    program = compile_model(load_model("digits_vit"), CONFIG)
    inputs = prepare(program, np.zeros((8, 8)))
    cycles = simulated().run(program, [inputs]).runs[0].counters["cycles"]
    predicted = predict(disassemble(program.code), CONFIG, entry=program.entry)
    assert 0.97 * cycles < predicted.cycles < 1.03 * cycles


def test_a_program_larger_than_the_part():
    large = replace(copying(1), sections=(Section("big", 0, CONFIG.memory_bytes + 1),))
    message = "needs 33554433 bytes of memory, but the SDRAM is 33554432; take a larger part"
    with pytest.raises(ProgramError, match=message):
        window_size(large)
    memory = MemoryLayout(CONFIG)
    memory.reserve("activations", CONFIG.memory_bytes)
    memory.linked_sections("model")
    memory.reserve("more", 1)
    message = "configuration 'sdram_tiny' has 33554432; take a smaller model$"
    with pytest.raises(ModelError, match=message):
        memory.linked_sections("model")


def test_the_description_says_where_the_memory_is():
    memory = generate.elaborate(CONFIG, cache=CACHE / "generated").description["memory_map"]
    assert memory["sdram"] == {"first": MEMORY_WINDOW, "bytes": 1 << 25, "port": "s_axi_lite"}
    assert set(memory) == {"registers", "sdram"}
    assert HostRegisters(CONFIG).window_size.init == 1 << 25  # without the host's doing
