"""Profiles: events of the RTL, whose each cycle is, and what `celosia profile` writes."""

import json
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from harness import CACHE

from celosia import generate, isa
from celosia.cli import app
from celosia.cli.inputs import choose_samples
from celosia.cli.machines import open_simulation
from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.program import Program, Section
from celosia.config import PRESETS
from celosia.errors import CheckFailed, ProgramError
from celosia.isa import Flag, Instruction, Opcode, Space, Unit
from celosia.rtl.sequencer import InstructionFetch
from celosia.runtime.attribution import CAUSES, MAC, attribute
from celosia.runtime.compare import mac_cycles, mac_rows
from celosia.runtime.devices import Run
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import prepare
from celosia.runtime.profile import Layer, make_profile, memory_bytes
from celosia.runtime.profile_page import page_html
from celosia.runtime.profile_trace import trace_json
from celosia.runtime.sim_device import SimDevice
from celosia.runtime.timeline import read_timeline

TINY = PRESETS["tiny"]
EXTERNAL = TINY.replace(name="outside", memory="axi4", on_chip_bytes=0, watchdog_cycles=2000)
TRACKS = {*(unit.name.lower() for unit in Unit), "array"}


def simulated(program, inputs, **options):
    """Run on a build that other tests have too: the command's own, or that of the devices."""
    if program.config is TINY:
        device = open_simulation(TINY, events=True, **options)
    else:
        design = generate.elaborate(program.config, cache=CACHE / "generated")
        device = SimDevice(program.config, design.path, CACHE, events=True, quick=True, **options)
    return device.run(program, inputs)


@pytest.fixture(scope="module")
def digits():
    """The digits model on `tiny`, and its input."""
    program = compile_model(load_model("digits_vit"), TINY)
    return program, [prepare(program, choose_samples(program, None, "digits", 1)[0].values)]


@pytest.fixture(scope="module")
def run(digits):
    return simulated(*digits).runs[0]


@pytest.fixture(scope="module")
def profile(digits, run):
    return make_profile(digits[0], run)


def code_of(program):
    return isa.disassemble(program.image[program.entry :])


def test_every_instruction_starts_once_and_ends_once(digits, profile):
    code = code_of(digits[0])
    spans = [span for unit in profile.timeline.units for span in unit]
    assert sorted(span.index for span in spans) == list(range(len(code) - 1))  # all but HALT
    assert all(span.instruction == code[span.index] for span in spans)
    assert all(0 < span.start < span.end < profile.timeline.cycles for span in spans)
    for unit in profile.timeline.units:
        assert all(a.start < b.start and a.end < b.end for a, b in pairwise(unit))


def test_no_instruction_starts_before_its_tokens(profile):
    units = profile.timeline.units
    for target in Unit:
        for source in Unit:
            given = [span.end for span in units[source] if target in span.instruction.signal]
            taken = [span.start for span in units[target] if source in span.instruction.wait]
            assert len(given) >= len(taken)
            assert all(end < start for end, start in zip(given, taken, strict=False))


def test_events_agree_with_the_counters(digits, run, profile):
    for unit in Unit:
        waits = sum(end - begin for begin, end in profile.timeline.waits[unit])
        assert waits == run.counters[f"{unit.name.lower()}_wait"]
    golden = GoldenDevice(TINY).run(*digits).runs[0]
    assert profile.total.mac_rows == golden.counters["mac_rows"]
    assert profile.total.mac_rows == sum(mac_rows(ins, TINY) for ins in code_of(digits[0]))


def test_every_cycle_belongs_to_one_layer_and_one_cause(digits, run, profile):
    pieces = profile.pieces
    assert pieces[0].begin == 0 and pieces[-1].end == run.counters["cycles"]
    assert all(a.end == b.begin for a, b in pairwise(pieces))
    assert {piece.cause for piece in pieces} <= {MAC, *CAUSES}
    for layer in [*profile.layers, profile.total]:
        assert layer.cycles == layer.mac_rows + sum(layer.stalls.values())
    for key in ("cycles", "mac_rows", "products"):
        assert getattr(profile.total, key) == sum(getattr(layer, key) for layer in profile.layers)
    assert profile.total.cycles == run.counters["cycles"]
    assert profile.total.utilisation == mac_cycles(digits[0]) / run.counters["cycles"]
    for layer in profile.layers:
        named = zip(profile.names, code_of(digits[0]), strict=True)
        rows = sum(mac_rows(ins, TINY) for name, ins in named if name == layer.name)
        assert layer.mac_rows == rows


@pytest.mark.parametrize("config", [TINY, EXTERNAL], ids=["on_chip", "external"])
def test_bytes_are_those_of_the_counters(config, digits):
    program, inputs = digits
    if config is EXTERNAL:
        program = compile_model(load_model("digits_vit"), config)
    counters = simulated(program, inputs).runs[0].counters
    code = code_of(program)
    read, written = np.sum([memory_bytes(ins, config) for ins in code], axis=0)
    assert written == counters["memory_writes"] * config.memory_width
    fetched = counters["memory_reads"] * config.memory_width - read
    ahead = fetched - len(code) * isa.INSTRUCTION_BYTES
    assert 0 <= ahead <= InstructionFetch.AHEAD * isa.INSTRUCTION_BYTES


def copying(config) -> Program:
    """A program without products."""
    rows = {"rows": 5, "words": 3, "stride": 3, "pitch": 3 * config.word_bytes}
    code = [
        Instruction(Opcode.LOAD, {"address": 0x400, **rows}, signal=frozenset({Unit.STORE})),
        Instruction(Opcode.STORE, {"address": 0x800, **rows}, wait=frozenset({Unit.LOAD})),
        Instruction(Opcode.HALT),
    ]
    image = isa.assemble(code)
    sections = (Section("code", 0, len(image)), Section("data", 0x400, 0x800))
    return Program(
        config=config,
        model="copying",
        image=image,
        sections=sections,
        inputs=(),
        outputs=(),
        tokens=5,
    )


def test_what_slow_memory_costs_is_called_memory():
    program = copying(EXTERNAL)
    totals = {}
    for name, latency, bandwidth in (("near", 4, 256), ("far", 104, 256), ("thin", 4, 16)):
        batch = simulated(program, [[]], latency=latency, bandwidth=bandwidth)
        profile = make_profile(program, batch.runs[0], bandwidth=bandwidth)
        assert profile.total.cycles == profile.total.stalls["memory"]  # there is nothing else
        assert [layer.name for layer in profile.layers] == ["copying"]
        assert page_html(profile) and trace_json(profile)
        totals[name] = profile.total
    assert totals["far"].cycles >= totals["near"].cycles + 200
    assert totals["thin"].cycles >= totals["near"].cycles + 15 * 45 * 2
    assert totals["thin"].bound_cycles == 16 * totals["near"].bound_cycles
    assert totals["near"].bound == "memory"


def test_an_sdram_reads_or_writes():
    layers = [
        Layer("copying", 2.0, one_way, bytes_read=90, bytes_written=60) for one_way in (False, True)
    ]
    assert [layer.bound_cycles for layer in layers] == [45.0, 75.0]
    config = PRESETS["ulx3s_sdram"]
    program = copying(config)
    run = simulated(program, [[]]).runs[0]
    total = make_profile(program, run, bandwidth=128).total
    moved = run.counters["memory_reads"] + run.counters["memory_writes"]
    assert total.bound_cycles == moved * config.memory_width / 2
    assert total.bound_cycles <= total.cycles


def test_runs_of_one_call_are_told_apart(digits):
    program, inputs = digits
    one, two = simulated(program, inputs * 2).runs
    for run in (one, two):
        assert make_profile(program, run).total.cycles == run.counters["cycles"]


# By hand: 4 x 4 array, a matrix product of 3 rows and 2 tiles each.

LOAD, MATRIX, VECTOR = Unit.LOAD, Unit.MATRIX, Unit.VECTOR
PRODUCT = {"m": 3, "n": 8, "k_tiles": 1}


def tokens(*units: Unit) -> frozenset[Unit]:
    return frozenset(units)


BY_HAND = [
    Instruction(Opcode.LOAD, {"rows": 1, "words": 1}, signal=tokens(MATRIX)),
    Instruction(
        Opcode.MATMUL,
        PRODUCT,
        Flag.WEIGHTS_IN_MEMORY,
        wait=tokens(LOAD),
        signal=tokens(VECTOR),
    ),
    Instruction(Opcode.NORM, {"m": 1}, wait=tokens(MATRIX), signal=tokens(MATRIX)),
    Instruction(Opcode.MATMUL, PRODUCT, wait=tokens(VECTOR)),
    Instruction(Opcode.HALT),
]
ROW, TILE, BANK = 1, 2, 4
#: Cycle, and the array's state from then on.
ARRAY = {
    0: 0,
    20: TILE,
    22: ROW,
    25: BANK,
    27: ROW,
    30: 0,
    50: TILE,
    52: ROW,
    55: 0,
    57: ROW,
    60: 0,
}
#: Start and end of each instruction.
TIMES = [(2, 10), (12, 35), (36, 44), (48, 66)]
CYCLES = 70


def events_by_hand(code=BY_HAND, times=TIMES, array=ARRAY):
    what = dict(array)
    for (start, end), instruction in zip(times, code, strict=False):
        for cycle, bit in ((start, 7), (end, 11)):
            state = what.get(cycle, [array[at] for at in array if at <= cycle][-1])
            what[cycle] = state | 1 << bit + instruction.unit
    rows = [(cycle, bits, 0, 0) for cycle, bits in sorted(what.items())]
    return np.array([*rows, (CYCLES, 0, 0, 0)], np.uint32)


def test_causes_by_hand():
    timeline = read_timeline(events_by_hand(), BY_HAND)
    pieces = attribute(timeline, TINY.replace(rows=4, columns=4))
    assert [(p.begin, p.end, p.span.index, p.cause) for p in pieces] == [
        (0, 11, 0, "memory"),  # the load has not ended
        (11, 12, 1, "issue"),  # it has
        (12, 20, 1, "rows"),
        (20, 22, 1, "memory"),  # its weights come from there
        (22, 25, 1, MAC),
        (25, 27, 1, "accumulators"),
        (27, 30, 1, MAC),
        (30, 45, 2, "token"),  # the norm, which waits for the drain itself
        (45, 48, 3, "issue"),
        (48, 50, 3, "rows"),
        (50, 52, 3, "weights"),
        (52, 55, 3, MAC),
        (55, 57, 3, "rows"),
        (57, 60, 3, MAC),
        (60, 70, 3, "token"),  # the end of the run waits for its last result
    ]


@pytest.mark.parametrize(("end", "expected"), [(40, (2, "token")), (46, (3, "memory"))])
def test_the_last_token_decides(end, expected):
    first, product, norm, second, halt = BY_HAND
    second = Instruction(Opcode.MATMUL, PRODUCT, wait=tokens(LOAD, VECTOR))
    code = [first, product, norm, first, second, halt]
    times = [*TIMES[:3], (15, end), TIMES[3]]
    array = dict(sorted({**ARRAY, 42: BANK, max(end, 44): 0}.items()))
    timeline = read_timeline(events_by_hand(code, times, array), code)
    pieces = attribute(timeline, TINY.replace(rows=4, columns=4))
    found = [(p.begin, p.end, p.span.index, p.cause) for p in pieces if 30 <= p.begin < 48]
    last = max(end, 44) + 1
    assert found == [
        (30, 42, *expected),
        (42, last - 1, 4, "accumulators"),
        (last - 1, last, *expected),  # the token is given in this cycle
        (last, 48, 4, "issue"),
    ]


def test_a_run_of_rows_is_split_where_an_instruction_ends():
    events = events_by_hand()
    events[events[:, 0] == 25, 1] = ROW  # all rows of both in one go, but for what lies between
    events = events[~np.isin(events[:, 0], [27, 30, 50, 55, 57])]
    events[events[:, 0] == 35, 1] = ROW | 1 << 11 + MATRIX
    pieces = attribute(read_timeline(events, BY_HAND), TINY.replace(rows=4, columns=4))
    macs = [(p.begin, p.end, p.span.index) for p in pieces if p.cause == MAC]
    assert macs[:2] == [(22, 28, 1), (28, 34, 3)]


@pytest.mark.parametrize("unit", Unit)
def test_a_missing_start_is_noticed(digits, run, unit):
    events = run.events.copy()
    at = np.flatnonzero(events[:, 1] >> 7 + unit & 1)[-1]
    events[at, 1] &= ~np.uint32(1 << 7 + unit)
    name = unit.name.lower()
    with pytest.raises(CheckFailed, match=rf"{name} unit: (\d+) instructions, but (?!\1)\d+ start"):
        read_timeline(events, code_of(digits[0]))


@pytest.mark.parametrize("name", ["cycles", "mac_rows", "stall_weights", "memory_reads"])
def test_events_that_contradict_a_counter_are_refused(digits, run, name):
    counters = {**run.counters, name: run.counters[name] + 1}
    with pytest.raises(CheckFailed, match=rf"{name} is \d+ by the events, but \d+ by the"):
        make_profile(digits[0], Run(run.outputs, counters, run.events))


def test_what_cannot_be_profiled_is_refused(digits, run):
    with pytest.raises(CheckFailed, match="has no events; ask the device"):
        make_profile(digits[0], Run(run.outputs, run.counters))
    nothing = np.array([(0, 0, 0, 0), (9, 0, 4, 0)], np.uint32)
    program = copying(TINY)
    halt = Program(**{**vars(program), "image": Instruction(Opcode.HALT).encode()})
    with pytest.raises(ProgramError, match="no instruction but HALT"):
        make_profile(halt, Run({}, {}, nothing))


def test_memory_bytes_are_whole_beats():
    wide = EXTERNAL.replace(rows=16, columns=16, memory_width=16)
    load = {"space": Space.PARAMETERS, "rows": 1, "words": 3}
    assert memory_bytes(Instruction(Opcode.LOAD, load), wide) == (32, 0)
    rows = {"space": Space.ROWS8, "rows": 3, "words": 5}
    assert memory_bytes(Instruction(Opcode.STORE, rows), wide) == (0, 3 * 5 * 16)
    part = {**rows, "first": 15, "count": 2}  # in two beats
    assert memory_bytes(Instruction(Opcode.STORE, part), wide) == (0, 3 * 2 * 16)
    product = {"m": 9, "n": 17, "k_tiles": 2}
    weights = Instruction(Opcode.MATMUL, product, Flag.WEIGHTS_IN_MEMORY)
    assert memory_bytes(weights, wide) == (2 * 2 * 256, 0)
    assert memory_bytes(Instruction(Opcode.MATMUL, product), wide) == (0, 0)


# The command.


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("profile")
    digits[0].save(path / "P")
    return path


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_writes_all_it_is_asked_for(here, digits, run, profile, capsys):
    words = "profile P --json p.json --trace t.json --html p.html"
    assert app.run(words.split()) == 0
    shown = capsys.readouterr().out
    for name in (*(layer.name for layer in profile.layers), "total", *CAUSES, "vector"):
        assert name in shown
    assert "…" not in shown  # nothing is cut off in 80 columns
    record = json.loads((here / "p.json").read_text())
    assert record["cycles"] == run.counters["cycles"]
    assert record == json.loads(json.dumps(profile.record()))
    layer = {"name", "cycles", "mac_rows", "mac_cycles", "utilisation", "stalls", "products"}
    layer |= {"bytes_read", "bytes_written", "intensity", "bound", "bound_cycles", "bound_reached"}
    assert all(set(found) == layer for found in record["layers"])
    assert set(record) >= layer | {"model", "config", "units", "counters", "layers"}
    assert (here / "t.json").read_text() == trace_json(profile)
    assert (here / "p.html").read_text() == page_html(profile)


def test_the_trace_has_a_track_for_each_unit(profile):
    events = json.loads(trace_json(profile))["traceEvents"]
    threads = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert set(threads.values()) >= TRACKS
    slices = {name: [] for name in threads.values()}
    for event in events:
        if event["ph"] == "X":
            slices[threads[event["tid"]]].append((event["ts"], event["dur"], event["name"]))
    for unit in Unit:
        assert len(slices[unit.name.lower()]) == len(profile.timeline.units[unit])
    for track in slices.values():
        assert all(a[0] + a[1] <= b[0] for a, b in pairwise(track))
        assert all(length > 0 for _, length, _ in track)
    stalls = sum(length for _, length, _ in slices["array"])
    assert stalls == profile.total.cycles - profile.total.mac_rows
    rates = [event for event in events if event["ph"] == "C"]
    assert rates and all(0 <= e["args"]["read"] <= TINY.memory_width for e in rates)


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.tags = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone(profile):
    text = page_html(profile)
    page = Page()
    page.feed(text)
    assert page.open == []
    names = [tag for tag, _ in page.tags]
    assert names.count("svg") == 2 and "script" not in names and "link" not in names
    assert not re.search(r"(https?:)?//\w", text)
    points = [attrs for tag, attrs in page.tags if tag == "circle"]
    with_products = [layer for layer in profile.layers if layer.products]
    assert len(points) == len(with_products) + 1
    assert all(0 <= float(point["cx"]) <= 640 for point in points)
    bars = [a for tag, a in page.tags if tag == "rect" and a["width"] == "1"]
    area = sum(float(bar["height"]) for bar in bars) / 48 / 1200
    assert area == pytest.approx(1, abs=0.01)


def refuse(capsys, here, line: str, message: str) -> None:
    before = sorted(path.name for path in here.iterdir())
    capsys.readouterr()
    assert app.run(line.split()) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert "Traceback" not in error and len(error.splitlines()) <= 3
    assert sorted(path.name for path in here.iterdir()) == before


def test_bad_input_is_refused(here, capsys):
    refuse(capsys, here, "profile Q", r"Q/manifest\.json: missing; a program is a directory")
    refuse(capsys, here, "profile P --input none.npy", r"none\.npy")
    refuse(capsys, here, "profile P --bandwidth 0", r"--bandwidth'.* greater than or equal to 1")
    refuse(capsys, here, "profile P --latency 0", r"--latency'.* greater than or equal to 1")


@pytest.mark.parametrize("layers", [[["one", 3]], [["one"]], 7])
def test_layers_that_do_not_fit_are_refused(here, capsys, layers):
    path = here / "P" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["extra"]["layers"] = layers
    path.write_text(json.dumps(manifest))
    refuse(capsys, here, "profile P --json p.json", r"manifest's layers .*compile it again")
