import json
import re
from hashlib import sha256

import numpy as np
import pytest
from harness import CACHE

from celosia import generate, isa
from celosia.cli.inputs import choose_samples
from celosia.cli.simulate import simulate_program, simulation_record
from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.program import Program, Section, Tensor
from celosia.config import PRESETS
from celosia.errors import CelosiaError, CheckFailed, DeviceError, ProgramError
from celosia.isa import Instruction, Opcode, Unit
from celosia.runtime.compare import compare
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.sim_device import SimDevice

ON_CHIP = PRESETS["tiny"]
EXTERNAL = ON_CHIP.replace(name="outside", memory="axi4", on_chip_bytes=0, watchdog_cycles=2000)
SDRAM = ON_CHIP.replace(
    name="sdram",
    memory="sdram",
    on_chip_bytes=0,
    sdram_part="16Mx16",
    sdram_mhz=50,
    sdram_round_trip=1,
)
CONFIGS = {"on_chip": ON_CHIP, "external": EXTERNAL, "sdram": SDRAM}

IN, OUT = 0x400, 0x800
ROWS, WORDS = 5, 3


@pytest.fixture(scope="module", params=CONFIGS)
def config(request):
    return CONFIGS[request.param]


def simulated(config, **options):
    design = generate.elaborate(config, cache=CACHE / "generated")
    return SimDevice(config, design.path, CACHE, quick=True, **options)


def copying(config, *, out: int = OUT, wait: bool = True) -> Program:
    """A program that takes rows through the scratchpad, to rows further apart."""
    pitch = WORDS * config.word_bytes
    rows = {"rows": ROWS, "words": WORDS, "stride": WORDS}
    store = {"address": out, "pitch": pitch + 8, **rows}
    code = [
        Instruction(
            Opcode.LOAD,
            {"address": IN, "pitch": pitch, **rows},
            signal=frozenset({Unit.STORE}),
        ),
        Instruction(Opcode.STORE, store, wait=frozenset({Unit.LOAD} if wait else ())),
        Instruction(Opcode.HALT),
    ]
    image = b"".join(instruction.encode() for instruction in code)
    columns = WORDS * config.lanes
    return Program(
        config=config,
        model="copying",
        image=image,
        sections=(
            Section("code", 0, len(image)),
            Section("in", IN, ROWS * pitch),
            Section("out", OUT, ROWS * (pitch + 8)),
        ),
        inputs=(Tensor("x", IN, pitch, ROWS, columns, 1.0),),
        outputs=(Tensor("y", OUT, pitch + 8, ROWS, columns, 1.0),),
        tokens=ROWS,
    )


def test_what_is_copied_arrives(config):
    program = copying(config)
    rng = np.random.default_rng(0)
    values = rng.integers(-(1 << 15), 1 << 15, (3, ROWS, WORDS * config.lanes), np.int16)
    inputs = [[(IN, rows.astype("<i2").tobytes())] for rows in values]
    done = []
    batch = simulated(config).run(program, inputs, progress=done.append)
    pitch = program.outputs[0].pitch
    for run, rows in zip(batch.runs, values, strict=True):
        data = np.frombuffer(run.read(OUT, ROWS * pitch), "<i2").reshape(ROWS, -1)
        np.testing.assert_array_equal(data[:, :-4], rows)
        assert not data[:, -4:].any()
        assert run.counters["instructions"] == 3
        assert 0 < run.counters["cycles"] < batch.cycles
        beats = ROWS * WORDS * config.word_bytes // config.memory_width
        assert run.counters["memory_writes"] == beats
    found = compare(program, GoldenDevice(config).run(program, inputs), batch)
    assert found.mismatches == 0 and found.bytes_compared > 3 * ROWS * pitch
    assert done == sorted(done) and all(0 <= count <= 3 for count in done)


def keeping(config) -> Program:
    """A program that stores the rows loaded before, and then loads others in their place."""
    pitch = WORDS * config.word_bytes
    rows = {"rows": 1, "words": WORDS}
    there, free = frozenset({Unit.LOAD}), frozenset({Unit.STORE})
    # Arguments: bytes to the row that is loaded, and elements of the row that is stored.
    store = {"address": OUT, **rows}
    load = {"address": IN, **rows}
    code = [
        Instruction(Opcode.STORE, store, signal=there, adds=(("count", 1), ("address", 2))),
        Instruction(Opcode.LOAD, load, wait=free, adds=(("address", 0),)),
        Instruction(Opcode.HALT),
    ]
    image = b"".join(instruction.encode() for instruction in code)
    sections = (
        Section("code", 0, len(image)),
        Section("in", IN, 4 * pitch),
        Section("out", OUT, 4 * pitch),
    )
    columns = WORDS * config.lanes
    outputs = (Tensor("y", OUT, pitch, 4, columns, 1.0),)
    return Program(
        config=config,
        model="keeping",
        image=image,
        sections=sections,
        inputs=(Tensor("x", IN, pitch, 4, columns, 1.0),),
        outputs=outputs,
        tokens=4,
    )


@pytest.mark.parametrize("kind", [GoldenDevice, simulated])
def test_a_session_keeps_its_state(config, kind):
    """Scratchpad, memory and arguments stay from run to run."""
    program = keeping(config)
    rng = np.random.default_rng(2)
    columns = WORDS * config.lanes
    pitch = 2 * columns
    values = rng.integers(-(1 << 15), 1 << 15, (4, columns), np.int16)
    expected = np.zeros((4, columns), np.int16)

    def stored(run):
        return np.frombuffer(run.read(OUT, 4 * pitch), "<i2").reshape(4, -1)

    with kind(config).open(program) as session:
        session.write(IN, values.astype("<i2").tobytes())
        # All of a row of zeros; row 2 comes into the scratchpad.
        np.testing.assert_array_equal(stored(session.run(arguments=[2 * pitch])), expected)
        # Its first three elements; then row 1. Arguments that are not given stay.
        expected[1, :3] = values[2, :3]
        run = session.run(arguments=[pitch, 3, pitch])
        np.testing.assert_array_equal(stored(run), expected)
        assert run.counters["instructions"] == 3
        expected[1, :3] = values[1, :3]
        np.testing.assert_array_equal(stored(session.run()), expected)
        # New values of row 3, and a window of what is there.
        values[3] = rng.integers(-99, 100, columns)
        run = session.run([(IN + 3 * pitch, values[3].astype("<i2").tobytes())], [3 * pitch])
        np.testing.assert_array_equal(stored(run), expected)
        expected[0] = values[3]
        session.run(arguments=[0, 0, 0])
        window = np.frombuffer(session.read(OUT, 2 * pitch), "<i2").reshape(2, -1)
        np.testing.assert_array_equal(window, expected[:2])
        assert session.read(OUT + 4, 8) == window.tobytes()[4:12]
        for wrong in ((OUT + 2, 4), (OUT, 6), (1 << 31, 4)):
            with pytest.raises(ProgramError, match=r"whole words|outside the window"):
                session.read(*wrong)
        with pytest.raises(ProgramError, match="argument 0 must be 0 to"):
            session.run(arguments=[-1])
        # The row loaded last is stored before the fault; a run after it begins like any other.
        with pytest.raises(DeviceError, match=r"outside window, instruction at 0x40 \(LOAD"):
            session.run(arguments=[1 << 30])
        expected[:2] = values[0]
        run = session.run(arguments=[0, 0, pitch])
        np.testing.assert_array_equal(stored(run), expected)


def test_arguments_may_be_the_same_for_all_inputs():
    program = keeping(ON_CHIP)
    values = np.arange(WORDS * ON_CHIP.lanes, dtype="<i2")
    pitch = 2 * values.size
    inputs = [[(IN + pitch, (values + index).tobytes())] for index in range(3)]
    batch = GoldenDevice(ON_CHIP).run(program, inputs, arguments=[pitch, 5])
    for index, run in enumerate(batch.runs):
        stored = np.frombuffer(run.read(OUT, pitch), "<i2")
        np.testing.assert_array_equal(stored[:5], values[:5] + index - 1 if index else 0)
        assert not stored[5:].any()


def test_a_closed_session_says_so():
    session = simulated(ON_CHIP).open(copying(ON_CHIP))
    session.close()
    session.close()
    assert session.report["cycles"] > 0
    with pytest.raises(CheckFailed, match="copying: the session is closed"):
        session.run()


def test_memory_timing_is_what_was_asked_for():
    program = copying(EXTERNAL)
    inputs = [[(IN, bytes(ROWS * WORDS * EXTERNAL.word_bytes))]]
    cycles = {}
    for name, options in {
        "near": {"latency": 1},
        "far": {"latency": 101},
        "thin": {"latency": 1, "bandwidth": 16},
    }.items():
        cycles[name] = simulated(EXTERNAL, **options).run(program, inputs).runs[0].counters
    # The first instructions, the rows and the answer to the last write wait for each other.
    further = cycles["far"]["cycles"] - cycles["near"]["cycles"]
    assert 200 <= further <= 400
    beats = cycles["thin"]["memory_writes"]
    assert cycles["thin"]["cycles"] - cycles["near"]["cycles"] >= 15 * beats


def test_a_fault_names_the_instruction(config):
    program = copying(config, out=config.on_chip_bytes or 0x10000)
    expected = r"fault: outside window, instruction at 0x40 \(STORE .*address="
    inputs = [[(IN, bytes(4))]]
    for device in (GoldenDevice(config), simulated(config)):
        with pytest.raises(DeviceError, match=expected):
            device.run(program, inputs)


def test_a_run_that_does_not_end_is_an_error():
    config = EXTERNAL
    program = copying(config)
    with pytest.raises(CheckFailed, match="input 0: the machine did not end within 20 cycles"):
        simulated(config, max_cycles=20).run(program, [[]])


def test_the_digits_are_classified_bit_for_bit(config, monkeypatch):
    monkeypatch.setenv("CELOSIA_CACHE", str(CACHE / "generated"))
    program = compile_model(load_model("digits_vit"), config)
    device = simulated(config)
    monkeypatch.setattr("celosia.cli.machines.open_simulation", lambda *_, **__: device)
    samples = choose_samples(program, None, "digits", 2)
    _, batch, found = simulate_program(program, samples)
    assert found.mismatches == 0, "\n".join(map(str, found.differences[:8]))
    record = simulation_record(program, batch, found)
    assert record["inputs"] == 2 and record["bytes_compared"] > program.window_bytes
    assert 0.1 < record["utilisation"] < 1
    assert len(record["cycles"]) == 2


def test_verilog_of_another_machine_is_noticed():
    other = EXTERNAL.replace(watchdog_cycles=2001)
    design = generate.elaborate(EXTERNAL, cache=CACHE / "generated")
    with pytest.raises(DeviceError, match="made for another configuration"):
        SimDevice(other, design.path, CACHE, quick=True).run(copying(other), [[]])


@pytest.mark.parametrize("kind", [GoldenDevice, simulated])
def test_inputs_are_checked_first(kind):
    device = kind(ON_CHIP)
    program = copying(ON_CHIP)
    for writes, message in {
        ((IN + 2, bytes(4)),): "whole words of 4 bytes",
        ((IN, bytes(3)),): "whole words of 4 bytes",
        ((ON_CHIP.on_chip_bytes, bytes(4)),): "outside the window",
        ((-4, bytes(4)),): "outside the window",
    }.items():
        with pytest.raises(ProgramError, match=message):
            device.run(program, [writes])
    with pytest.raises(ProgramError, match="made for a machine with"):
        device.run(copying(EXTERNAL), [[]])


def test_generate_describes_the_verilog(tmp_path):
    out = tmp_path / "out"
    design = generate.generate(ON_CHIP, out, cache=CACHE / "generated")
    verilog = (out / "accelerator.v").read_text()
    described = json.loads((out / "accelerator.json").read_text())
    assert described["isa"] == isa.VERSION
    assert described["digest"] == ON_CHIP.digest().hex()
    assert described["parameters"] == ON_CHIP.to_dict()
    assert described["registers"] == isa.REGISTERS
    assert described["memory_map"]["on_chip"]["bytes"] == ON_CHIP.on_chip_bytes
    assert described["sha256"]["accelerator.v"] == sha256(verilog.encode()).hexdigest()
    top = verilog[verilog.rindex("\nmodule accelerator(") :]
    for port in described["ports"]:
        kind = "input" if port["direction"] == "in" else "output"
        width = f"[{port['width'] - 1}:0] " if port["width"] > 1 else ""
        assert re.search(rf"^  {kind} (wire )?{re.escape(width)}{port['name']};", top, re.M), port
    # Made from the cache the second time, and again when that is damaged.
    design.path.write_text("module nothing; endmodule\n")
    assert generate.elaborate(ON_CHIP, cache=CACHE / "generated").verilog == verilog
    assert design.path.read_text() == verilog


def test_the_cache_is_where_it_was_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("CELOSIA_CACHE", raising=False)
    assert generate.cache_root() == tmp_path / "user" / "celosia"
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "mine"))
    assert generate.cache_root() == tmp_path / "mine"


def test_a_folder_of_another_origin_is_not_overwritten(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CelosiaError, match="holds files that Celosia did not make"):
        generate.generate(ON_CHIP, tmp_path, cache=CACHE / "generated")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
