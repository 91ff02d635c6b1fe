"""A board as a device: the machine and its serial bridge in simulation, on a pseudo-terminal."""

import sys

import numpy as np
import pytest
from board import Board
from test_devices import copying
from test_devices import test_a_session_keeps_its_state as keeps_its_state

from celosia import isa
from celosia.compiler.program import Program
from celosia.config import PRESETS
from celosia.errors import CheckFailed, DeviceError, ProgramError, ToolError
from celosia.golden.machine import GoldenMachine
from celosia.isa import Instruction, Opcode, Unit
from celosia.runtime.clear_program import clear_image
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.link_requests import BLOCK_BYTES
from celosia.runtime.lockstep import LockstepSession
from celosia.runtime.selftest import random_rows, selftest_program
from celosia.runtime.serial_device import SerialDevice
from celosia.runtime.serial_port import open_port

#: As small as machines are: every byte of the line takes 40 simulated cycles.
SIZE = 1 << 13
CONFIG = PRESETS["tiny"].replace(
    name="board",
    scratchpad_words=256,
    exponent_slots=64,
    accumulator_rows=16,
    attention_rows=8,
    parameter_entries=16,
    vector_lanes=1,
    on_chip_bytes=SIZE,
)
#: Shares of frames in each direction.
NOISE = {"dropped": 0.03, "corrupted": 0.03, "repeated": 0.03, "delayed": 0.02}


def device(board, config=CONFIG, **options):
    options = {"timeout": 2.0, "retries": 20} | options
    return SerialDevice(config, board.port, **options)


def check(board, seeds, **options):
    """Run the self-test on board and golden machine, and compare; return the board's session."""
    program = selftest_program(CONFIG)
    golden = GoldenDevice(CONFIG).open(program)
    with device(board, **options).open(program) as session:
        both = LockstepSession(program, golden, session)
        for seed in seeds:
            both.run(random_rows(program, seed))
        found = both.compare_memory()
        assert found.mismatches == 0, found.differences
        # What was not read because its checksum had not changed is what is there.
        whole = session._link.read_block(isa.MEMORY_WINDOW, SIZE)
        assert whole == golden.read(0, SIZE)
    return session


def test_a_board_does_what_golden_does(tmp_path):
    with Board(CONFIG, tmp_path / "board") as board:
        seen = []
        # However slow the simulation is: nothing is lost, nothing must be taken for that.
        shown = {"progress": lambda *done: seen.append(done), "timeout": 60}
        first = check(board, range(2), **shown)
        assert first.blocks == SIZE / BLOCK_BYTES
        assert 3 <= first.blocks_sent < first.blocks
        assert seen == sorted(seen) and seen[-1] == (first.blocks, first.blocks)
        assert first.statistics.repeated == 0
        # The self-test left scratchpad, parameters and memory full.
        keeps_its_state(CONFIG, lambda config: device(board))
        # What is there is not sent again: the begin of it was the clearing program
        program = copying(CONFIG)
        with device(board).open(program):
            pass
        with device(board).open(program) as session:
            assert session.blocks_sent == 1


def test_noise_changes_nothing(tmp_path):
    with Board(CONFIG, tmp_path / "board", **NOISE) as board:
        session = check(board, [2])
        keeps_its_state(CONFIG, lambda config: device(board))
        assert session.statistics.repeated > 0
    for counts in board.record["noise"]:
        assert min(counts.values()) > 0


def test_a_transfer_goes_on_where_it_broke(tmp_path):
    with Board(CONFIG, tmp_path / "board") as board:
        pulled = []

        def pull(done, total):
            if done > total - 3 and not pulled:
                board.pull_cable()
                pulled.append(done)

        with pytest.raises(DeviceError, match=r"no answer to .* requests had to be sent again"):
            device(board, progress=pull, retries=1, timeout=1).open(selftest_program(CONFIG))
        with pytest.raises(DeviceError, match=r"^no answer after 2 attempts; check the port"):
            device(board, retries=1, timeout=1).open(selftest_program(CONFIG))
        board.plug_in()
        session = check(board, [3])
        # The two blocks of the clearing program, and what was not there.
        assert session.blocks_sent <= 2 + session.blocks - pulled[0]


def test_errors_say_what_to_do(tmp_path, monkeypatch):
    with Board(CONFIG, tmp_path / "board") as board:
        other = CONFIG.replace(watchdog_cycles=2001)
        message = r"the board has another machine, 4x4 with digest [0-9a-f]{8}, than the program is"
        with pytest.raises(DeviceError, match=message):
            device(board, other).open(copying(other))
        with monkeypatch.context() as patch:
            patch.setattr(isa, "VERSION", isa.VERSION + 1)
            with pytest.raises(DeviceError, match=r"instruction set version is \d+, the program's"):
                device(board).open(copying(CONFIG))
        with monkeypatch.context() as patch:
            patch.setattr(isa, "ID", 1)
            with pytest.raises(DeviceError, match="no machine of Celosia: its id is 0x43454c4f"):
                device(board).open(copying(CONFIG))
        # One host at a time.
        with device(board).open(copying(CONFIG)) as session:
            with pytest.raises(DeviceError, match="cannot be opened at 1000000 baud"):
                device(board).open(copying(CONFIG))
            for wrong in ((0, 3), (2, 4), (SIZE, 4)):
                with pytest.raises(ProgramError, match=r"whole words|outside the window"):
                    session.read(*wrong)
        with pytest.raises(DeviceError, match="outside window, instruction at 0x40"):
            device(board).run(copying(CONFIG, out=SIZE), [[]])
        # A program that waits for ever; after it the machine is busy.
        endless = copying(CONFIG)
        store = Instruction(Opcode.STORE, wait=frozenset({Unit.VECTOR}))
        endless = Program(**{
            **{name: getattr(endless, name) for name in ("config", "model", "sections", "tokens")},
            "image": store.encode() + Instruction(Opcode.HALT).encode(),
            "inputs": (),
            "outputs": (),
        })
        with pytest.raises(CheckFailed, match="did not end within 5000 cycles; reset the board"):
            device(board, max_cycles=5000).run(endless, [[]])
        with pytest.raises(DeviceError, match="is still in a run that another host began"):
            device(board).open(copying(CONFIG))


def test_a_port_that_is_not_there(tmp_path):
    message = r"^serial port .*nothing cannot be opened at 115200 baud: .*; ports here: "
    with pytest.raises(DeviceError, match=message):
        open_port(str(tmp_path / "nothing"), 115200)


def test_pyserial_may_be_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(ToolError, match=r"pyserial is missing.*pip install pyserial"):
        open_port("/dev/ttyUSB0", 115200)


@pytest.mark.parametrize(
    "config",
    [
        *PRESETS.values(),
        CONFIG.replace(scratchpad_words=64, exponent_slots=256),
        CONFIG.replace(scratchpad_words=4096, exponent_slots=64, parameter_entries=1024),
    ],
)
def test_nothing_is_left_after_clearing(config):
    rng = np.random.default_rng(0)
    image = clear_image(config)
    memory = np.zeros(1 << 16, np.uint8)
    memory[: len(image)] = np.frombuffer(image, np.uint8)
    machine = GoldenMachine(config, memory)
    state = machine.state
    pad = state.scratchpad
    arrays = [pad.words, pad.exponents, state.parameters, state.table]
    for array in arrays:
        array[...] = rng.integers(1, 5, array.shape)
    machine.run(0, [])
    for array in arrays:
        assert not array.any()


@pytest.mark.parametrize("config", [*PRESETS.values(), CONFIG])
def test_the_self_test_uses_every_unit(config):
    program = selftest_program(config)
    used = {instruction.opcode for instruction in isa.disassemble(program.image[: 64 * 24])}
    assert used == set(Opcode)
    one, other = (
        GoldenDevice(config).run(program, [random_rows(program, seed)]).runs[0] for seed in (1, 2)
    )
    for tensor in program.outputs:
        results = [run.outputs[tensor.address] for run in (one, other)]
        assert len(set(results[0])) > 10 and results[0] != bytes(len(results[0]))
        fixed = tensor.name in ("load", "store")  # they are of rows B
        assert (results[0] == results[1]) == fixed, tensor.name
