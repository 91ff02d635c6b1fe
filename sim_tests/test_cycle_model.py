# amaranth: UnusedElaboratable=no
"""The cycle model: its constants, its errors against the RTL, and how it follows the memory."""

import sys
from itertools import pairwise
from pathlib import Path

import pytest
from harness import CACHE
from random_programs import random_arguments, random_image

from celosia import generate
from celosia.compiler import rows
from celosia.compiler.cycles import (
    MemoryTiming,
    latencies,
    memory,
    norm,
    predict,
    vector,
    vector_port,
)
from celosia.config import PRESETS
from celosia.cores.activation import TableActivation
from celosia.cores.argmax import RowArgmax
from celosia.cores.layernorm_sums import RowSums
from celosia.cores.multiply_rows import RowMultiplier
from celosia.cores.quantise import Quantiser
from celosia.cores.requant import Requantiser
from celosia.cores.row_functions import RowFunctions
from celosia.cores.softmax import StreamingSoftmax
from celosia.cores.systolic import SystolicArray
from celosia.errors import ConfigError, ProgramError
from celosia.isa import COUNTERS, Instruction, Opcode, Unit, disassemble
from celosia.rtl import bursts, memory_reader, top
from celosia.rtl.accumulators import Accumulators
from celosia.rtl.load import ENTRY_BYTES, LoadUnit
from celosia.rtl.memory_writer import MemoryWriter
from celosia.rtl.scratchpad import Scratchpad
from celosia.rtl.sequencer import InstructionFetch
from celosia.rtl.stream import StreamFIFO
from celosia.rtl.unit_queue import UnitQueue
from celosia.rtl.vector import VectorUnit
from celosia.runtime.sim_device import SimDevice

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from cycle_programs import kernels, memory_timing, run_all, wrapped

ON_CHIP = PRESETS["tiny"]
EXTERNAL = ON_CHIP.replace(name="outside", memory="axi4", on_chip_bytes=0, watchdog_cycles=2000)
#: Largest error of a prediction.
ERROR = 0.03
#: Argument registers of the random programs.
ARGUMENTS = random_arguments(1)

#: Constants of the model and what they stand for.
SAME = {
    "ACTIVATION": TableActivation.latency,
    "BURST_BEATS": bursts.MAX_BURST,
    "BURST_BOUNDARY": bursts.BOUNDARY,
    "DISTRIBUTED_DEPTH": StreamFIFO.DISTRIBUTED_DEPTH,
    "DRAIN_READ": Accumulators.read_latency,
    "FETCH_AHEAD": InstructionFetch.AHEAD,
    "LOADS_AHEAD": LoadUnit.AHEAD,
    "QUEUE_DEPTH": UnitQueue.DEPTH,
    "REQUANTISER": Requantiser.latency,
    "RESERVED_TILES": top.RESERVED_TILES,
    "RESULT": RowMultiplier.latency,
    "ROW_BEATS": top.ROW_BEATS,
    "ROW_PATH": 1 + Quantiser.latency,
    "SUM_PATH": Accumulators.turnaround,
    "UNDER_WAY": UnitQueue.UNDER_WAY,
    "WEIGHT_BEATS": top.WEIGHT_BEATS,
    "WORDS_AHEAD": Scratchpad.words_ahead,
    "WORDS_THERE": Scratchpad.RESPONSE_DEPTH,
    "WRITES_UNDER_WAY": MemoryWriter.OUTSTANDING,
    "WRITE_BEATS": MemoryWriter.DEPTH,
    "WRITE_LATENCY": Scratchpad.write_latency,
}


@pytest.mark.parametrize("name", SAME)
def test_constants_are_those_of_the_hardware(name):
    assert getattr(latencies, name) == SAME[name]


@pytest.mark.parametrize("name", PRESETS)
def test_latencies_are_those_of_the_hardware(name):
    config = PRESETS[name]
    softmax = StreamingSoftmax(config)
    found = latencies.Latencies.of(config)
    assert found.array == SystolicArray(config).latency
    assert (found.softmax, found.reciprocal) == (softmax.latency, softmax.reciprocal_latency)
    assert found.norm_sums == RowSums(config.vector_lanes).latency
    assert vector.search_latency(config) == RowArgmax(config.vector_lanes).latency
    for depth in (8, 16, 32, 64, 128, 256):
        assert latencies.burst_limit(config, depth) == bursts.burst_limit(config, depth)


def test_units_are_those_of_the_hardware():
    assert memory.LATENCY_LIMIT == memory_reader.LATENCY_LIMIT
    assert rows.ENTRY_BYTES == ENTRY_BYTES
    assert norm.ROWS_BETWEEN == RowFunctions.capacity
    assert norm.SUMS_WAITING == RowSums.DEPTH
    assert vector_port.WORDS_ASKED_FOR == VectorUnit.WORDS_ASKED_FOR


def programs(config):
    images = [random_image(config, seed, arguments=ARGUMENTS).tobytes() for seed in range(4)]
    random = [wrapped(config, f"random {seed}", image) for seed, image in enumerate(images)]
    return [*kernels(config), *random]


def prediction(program, timing=None):
    return predict(disassemble(program.image), program.config, timing, arguments=ARGUMENTS)


@pytest.mark.parametrize(
    ("config", "latency", "bandwidth"),
    [(ON_CHIP, 40, 256), (EXTERNAL, 40, 256), (EXTERNAL, 150, 64)],
    ids=["on_chip", "external", "slow"],
)
def test_the_rtl_takes_the_cycles_predicted(config, latency, bandwidth):
    design = generate.elaborate(config, cache=CACHE / "generated")
    device = SimDevice(config, design.path, CACHE, latency=latency, bandwidth=bandwidth, quick=True)
    cases = programs(config)
    timing = memory_timing(config, latency, bandwidth)
    for program, counters in zip(cases, run_all(device, cases, ARGUMENTS), strict=True):
        found = prediction(program, timing)
        assert found.cycles == pytest.approx(counters["cycles"], rel=ERROR), program.model
        assert found.counters.keys() == set(COUNTERS) - {"saturations"}
        for name in ("instructions", "mac_rows", "memory_reads", "memory_writes"):
            assert found.counters[name] == counters[name], (program.model, name)
        for name in found.counters.keys():
            slack = ERROR * counters["cycles"]
            assert abs(found.counters[name] - counters[name]) <= slack, (program.model, name)


def test_a_slower_memory_never_takes_fewer_cycles():
    timings = [MemoryTiming(latency) for latency in (1, 3, 10, 25, 40, 80, 200)]
    slower = [MemoryTiming(40, rate) for rate in (4, 3, 2, 1, 0.5)]
    for program in programs(EXTERNAL):
        for order in (timings, slower):
            cycles = [prediction(program, timing).cycles for timing in order]
            assert all(a <= b for a, b in pairwise(cycles)), (program.model, cycles)


def test_instructions_follow_their_tokens():
    for program in programs(EXTERNAL):
        code = disassemble(program.image)
        found = prediction(program)
        signalled = {}
        for instruction, (start, end) in zip(code, found.spans, strict=True):
            assert 0 < start < end < found.cycles or instruction.unit is None
            for source in instruction.wait:
                assert signalled[source, instruction.unit].pop(0) < start
            for target in instruction.signal:
                signalled.setdefault((instruction.unit, target), []).append(end)


HALT = Instruction(Opcode.HALT)
LOAD = {"rows": 1, "words": 1}


def test_what_cannot_be_predicted_is_refused():
    with pytest.raises(ConfigError, match=r"memory: latency must be at least 1 cycle, not 0"):
        MemoryTiming(0)
    for rate in (0, -1.5, float("nan")):
        with pytest.raises(
            ConfigError, match=f"memory: bytes_per_cycle must be positive, not {rate}"
        ):
            MemoryTiming(bytes_per_cycle=rate)
    with pytest.raises(ProgramError, match="does not end in HALT"):
        predict([Instruction(Opcode.LOAD, LOAD)], ON_CHIP)
    waits = Instruction(Opcode.LOAD, LOAD, wait=frozenset({Unit.STORE}))
    with pytest.raises(ProgramError, match="waits for a token from store"):
        predict([waits, HALT], ON_CHIP)
