"""Bench of LOAD and STORE with all that is between them and memory."""

import itertools
import json
import os
import random
from dataclasses import dataclass

import cocotb
from axi_checks import watch_addresses, watch_stalls, watch_strobes
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge
from cocotbext.axi import AxiBus, AxiRam
from streams import Sink, Source

from celosia.config import MachineConfig
from celosia.isa import Cause, Instruction, Opcode, Space

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
W, L = CONFIG.memory_width, CONFIG.lanes
BASE, SIZE = 0x8000_1000, 0x20000
PAUSES = [(0,), (1, 0, 0, 1, 0, 1, 1), (1, 1, 0, 1)]


def align(value: int) -> int:
    return -(-value // W) * W


def lanes_of(space: Space, data: bytes) -> list[int]:
    size = 2 if space == Space.ROWS16 else 1
    return [
        int.from_bytes(data[k : k + size], "little", signed=True) for k in range(0, len(data), size)
    ]


def bytes_of(space: Space, lanes: list[int]) -> bytes:
    if space == Space.ROWS16:
        return b"".join((lane & 0xFFFF).to_bytes(2, "little") for lane in lanes)
    return bytes(lane & 0xFF for lane in lanes)


def exponent(lanes: list[int]) -> int:
    bits = 0
    for lane in lanes:
        bits |= lane if lane >= 0 else -1 - lane
    return max(0, bits.bit_length() - 7)


@dataclass
class Move:
    """One LOAD or STORE."""

    opcode: Opcode
    space: Space
    operands: dict[str, int]

    @property
    def encoded(self) -> int:
        operands = {"space": self.space, **self.operands}
        if self.opcode is Opcode.STORE:
            operands.pop("slot")
        return int.from_bytes(Instruction(self.opcode, operands).encode(), "little")

    @property
    def row_bytes(self) -> int:
        return self.operands["words"] * L * self.size

    @property
    def size(self) -> int:
        return 2 if self.space == Space.ROWS16 else 1

    @property
    def range(self) -> range:
        """Bytes of each row that are moved."""
        o = self.operands
        if not o.get("count"):
            return range(self.row_bytes)
        return range(self.size * o["first"], self.size * (o["first"] + o["count"]))

    def beats(self) -> list[tuple[int, int]]:
        """Beats that a store accesses: address and strobe."""
        rows = []
        for row in range(self.operands["rows"]):
            start = self.operands["address"] + row * self.operands["pitch"]
            bits: dict[int, int] = {}
            for byte in self.range:
                place, lane = divmod(start + byte, W)
                bits[W * place] = bits.get(W * place, 0) | 1 << lane
            rows += bits.items()
        return rows

    def words(self):
        """Memory offset, scratchpad address and exponent slot of each word."""
        o = self.operands
        word_bytes = self.row_bytes // max(1, o["words"])
        for row, word in itertools.product(range(o["rows"]), range(o["words"])):
            yield (
                o["address"] + row * o["pitch"] + word * word_bytes,
                word_bytes,
                o["base"] + row * o["stride"] + word,
                o["slot"] + row,
            )


class Machine:
    """What memory, scratchpad and exponents should hold."""

    def __init__(self) -> None:
        self.memory = bytearray(SIZE)
        self.words = [[0] * L for _ in range(CONFIG.scratchpad_words)]
        self.exponents = [0] * CONFIG.exponent_slots

    def execute(self, move: Move) -> None:
        seen = set()
        for offset, count, address, slot in move.words():
            if move.opcode is Opcode.LOAD:
                lanes = lanes_of(move.space, self.memory[offset : offset + count])
                self.words[address] = lanes
                e = exponent(lanes)
                self.exponents[slot] = max(self.exponents[slot], e) if slot in seen else e
                seen.add(slot)
            else:
                data = bytes_of(move.space, self.words[address])
                row = slot - move.operands["slot"]
                start = move.operands["address"] + row * move.operands["pitch"]
                for k, byte in enumerate(data, offset - start):
                    if k in move.range:
                        self.memory[start + k] = byte


#: Reset does not clear the memories of the machine.
MACHINE = Machine()


def random_move(opcode: Opcode, space: Space) -> Move:
    rows, words = random.choice([1, 2, 3, 5, 7]), random.choice([1, 2, 3, 5])
    row_bytes = words * L * (2 if space == Space.ROWS16 else 1)
    row_bytes += -row_bytes % W
    # Contiguous, with a gap, or, for loads, all of one row or overlapping ones.
    pitches = [row_bytes, row_bytes + W * random.randrange(1, 9), row_bytes + 4096]
    pitches += [0, W] if opcode is Opcode.LOAD else []
    pitch = random.choice(pitches)
    room = SIZE - (rows - 1) * pitch - row_bytes
    stride = random.choice([words, words + 1, words + 6])
    operands = {
        "rows": rows,
        "words": words,
        "address": random.randrange(room // W + 1) * W,
        "pitch": pitch,
        "base": random.randrange(CONFIG.scratchpad_words - rows * stride),
        "stride": stride,
        "slot": random.randrange(CONFIG.exponent_slots - rows),
    }
    return Move(opcode, space, operands)


def random_range(move: Move) -> Move:
    """Store only some elements of each row."""
    width = move.operands["words"] * L
    count = random.choice([1, 2, L, width, random.randint(1, width)])
    count = min(count, width)
    first = random.choice([0, width - count, random.randint(0, width - count)])
    return Move(move.opcode, move.space, move.operands | {"first": first, "count": count})


class Bench:
    def __init__(self, dut, pauses=(0,), *, stall=0.0) -> None:
        self.dut = dut
        self.edge = RisingEdge(dut.clk)
        self.load = Source(dut, "load", stall=stall)
        self.store = Source(dut, "store", stall=stall)
        self.intruder = Source(dut, "intruder")
        self.request, self.word = Source(dut, "request"), Sink(dut, "word")
        self.done = {"load": 0, "store": 0}
        self.parameters: list[tuple[int, ...]] = []
        self.table: list[tuple[int, ...]] = []
        self.reads: list[tuple[int, int]] = []
        self.writes: list[tuple[int, int]] = []
        self.strobes: list[int] = []
        self.beats = 0
        Clock(dut.clk, 10, unit="ns").start()
        bus = AxiBus.from_prefix(dut, "m_axi_")
        self.ram = AxiRam(bus, dut.clk, dut.rst, size=1 << 32)
        channels = (
            *(self.ram.write_if.aw_channel, self.ram.write_if.w_channel),
            *(self.ram.write_if.b_channel, self.ram.read_if.ar_channel),
            self.ram.read_if.r_channel,
        )
        for channel in channels:
            channel.set_pause_generator(itertools.cycle(pauses))

    async def start(self) -> None:
        dut = self.dut
        dut.window_base.value = BASE
        dut.window_size.value = SIZE
        dut.rst.value = 1
        await ClockCycles(dut.clk, 3)
        dut.rst.value = 0
        await ClockCycles(dut.clk, 3)
        # Rows of all sizes, so that the exponents differ.
        for offset in range(0, SIZE, 8 * L):
            bits = random.randrange(1, 17)
            lanes = [random.getrandbits(bits) - (1 << bits >> 1) for _ in range(4 * L)]
            MACHINE.memory[offset : offset + 8 * L] = bytes_of(Space.ROWS16, lanes)
        self.ram.write(BASE, bytes(MACHINE.memory))
        for channel in ("ar", "aw", "w"):
            cocotb.start_soon(watch_stalls(dut, "m_axi", channel))
        cocotb.start_soon(watch_addresses(dut, "m_axi", "ar", W, self.reads))
        cocotb.start_soon(watch_addresses(dut, "m_axi", "aw", W, self.writes))
        cocotb.start_soon(watch_strobes(dut, "m_axi", self.strobes))
        cocotb.start_soon(self.watch())

    async def watch(self) -> None:
        dut = self.dut
        while True:
            await self.edge
            for unit in self.done:
                done = getattr(dut, f"{unit}_done").value
                assert not done or getattr(dut, f"{unit}_busy").value
                self.done[unit] += bool(done)
            self.beats += bool(dut.m_axi__rvalid.value)
            if dut.parameters__valid.value:
                entry = dut.parameters__data.value.to_unsigned()
                fields = (entry & 0x7FFF, entry >> 15 & 0x3F, entry >> 21)
                self.parameters.append((dut.parameters__address.value.to_unsigned(), *fields))
            if dut.table__valid.value:
                names = ("address", "value", "slope")
                values = (getattr(dut, f"table__{name}").value.to_unsigned() for name in names)
                self.table.append(tuple(values))

    async def until(self, unit: str, count: int) -> None:
        while self.done[unit] < count:
            await self.edge

    async def run(self, moves: list[Move]) -> None:
        """Execute the moves, each before the next."""
        for move in moves:
            MACHINE.execute(move)
            unit = move.opcode.name.lower()
            count = self.done[unit] + 1
            await getattr(self, unit).send([move.encoded])
            await self.until(unit, count)

    async def check_scratchpad(self) -> None:
        cocotb.start_soon(self.request.send(range(CONFIG.scratchpad_words)))
        got = await self.word.receive(CONFIG.scratchpad_words, signed=False)
        expected = [int.from_bytes(bytes_of(Space.ROWS16, w), "little") for w in MACHINE.words]
        assert got == expected
        for slot, expected_exponent in enumerate(MACHINE.exponents):
            self.dut.exponent__address.value = slot
            await self.edge
            await ReadOnly()
            assert self.dut.exponent__exponent.value.to_unsigned() == expected_exponent, slot
            await self.edge

    def check_beats(self, moves: list[Move]) -> None:
        """Only what is stored is accessed, in order, byte by byte."""
        stores = [move for move in moves if move.opcode is Opcode.STORE]
        places = [a + k * W - BASE for a, count in self.writes for k in range(count)]
        expected = [beat for move in stores for beat in move.beats()]
        assert list(zip(places, self.strobes, strict=True)) == expected

    def check_memory(self) -> None:
        assert self.ram.read(BASE - 64, 64) == self.ram.read(BASE + SIZE, 64) == bytes(64)
        assert self.ram.read(BASE, SIZE) == bytes(MACHINE.memory)
        assert self.dut.fault.value == Cause.NONE


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=PAUSES, stall=[0.0, 0.5])
async def moves_rows_there_and_back(dut, pauses, stall):
    bench = Bench(dut, pauses, stall=stall)
    await bench.start()
    moves = []
    for opcode, space in itertools.product((Opcode.LOAD, Opcode.STORE), (Space(0), Space(1))):
        moves += [random_move(opcode, space) for _ in range(7)]
        if opcode is Opcode.STORE:
            moves += [random_range(random_move(opcode, space)) for _ in range(14)]
    random.shuffle(moves)
    await bench.run(moves)
    await bench.check_scratchpad()
    bench.check_memory()
    bench.check_beats(moves)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(space=[Space.ROWS16, Space.ROWS8])
async def every_range_of_a_row_is_stored(dut, space):
    """Two words of a row, each first element with each last one, across 4 KB."""
    bench = Bench(dut)
    await bench.start()
    address = 8192 - BASE % 4096 - 2 * L
    operands = {"words": 2, "base": 30, "stride": 3, "slot": 3, "address": address}
    load = {"rows": 3, "pitch": 4 * L, **operands, "address": 0}
    moves = [Move(Opcode.LOAD, Space.ROWS16, load)]
    firsts = range(2 * L) if L <= 4 else [0, 1, L // 2, L - 1, L, L + 1, 2 * L - 1]
    for first, end in itertools.product(firsts, range(1, 2 * L + 1)):
        if first < end and (L <= 4 or random.random() < 0.3):
            # With a gap, and one row behind the other.
            pitch = random.choice([2 * L * (2 if space == Space.ROWS16 else 1), 8 * L + W])
            ranged = {"first": first, "count": end - first, "rows": 2, "pitch": pitch}
            moves.append(Move(Opcode.STORE, space, operands | ranged))
    await bench.run(moves)
    bench.check_memory()
    bench.check_beats(moves)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=PAUSES)
async def loads_follow_each_other(dut, pauses):
    """Several loads at once, while a writer of higher priority takes cycles."""
    bench = Bench(dut, pauses)
    await bench.start()
    moves = [random_move(Opcode.LOAD, space) for space in (Space(0), Space(1)) * 4]
    for move in moves:
        MACHINE.execute(move)
    cocotb.start_soon(bench.load.send(move.encoded for move in moves))
    for _ in range(100):
        # No lane is written and slot 0 keeps the larger exponent, so only cycles are lost.
        await bench.intruder.send([0])
        await ClockCycles(dut.clk, random.randrange(3))
    await bench.until("load", len(moves))
    assert bench.done["load"] == len(moves)
    await bench.check_scratchpad()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def what_is_done_can_be_read(dut):
    bench = Bench(dut)
    await bench.start()
    for space in (Space.ROWS16, Space.ROWS8) * 4:
        move = random_move(Opcode.LOAD, space)
        MACHINE.execute(move)
        await bench.load.send([move.encoded])
        *_, (_, _, address, slot) = move.words()
        bench.request.payload.value = address
        dut.exponent__address.value = slot
        while True:
            await ReadOnly()
            if dut.load_done.value:
                break
            await bench.edge
        await bench.edge  # the cycle of `done` is the first that counts for the exponent
        bench.request.valid.value = 1
        await ReadOnly()
        assert dut.exponent__exponent.value.to_unsigned() == MACHINE.exponents[slot]
        await bench.edge
        bench.request.valid.value = 0
        (got,) = await bench.word.receive(1, signed=False)
        assert got == int.from_bytes(bytes_of(Space.ROWS16, MACHINE.words[address]), "little")


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(pauses=PAUSES)
async def loads_parameters_and_tables(dut, pauses):
    bench = Bench(dut, pauses)
    await bench.start()
    moves, parameters, table = [], [], []
    for count in (1, 2, 3, 5, 17, 32):
        address, base = random.randrange(SIZE // W // 2) * W, random.randrange(100)
        operands = {"rows": 1, "words": count, "address": address, "base": base, "slot": 0}
        moves.append(Move(Opcode.LOAD, Space.PARAMETERS, operands))
        for n in range(count):
            entry = int.from_bytes(MACHINE.memory[address + 8 * n : address + 8 * n + 8], "little")
            fields = (entry & 0x7FFF, entry >> 16 & 0x3F, entry >> 32 & 0xFFFF)
            parameters.append(((base + n) % CONFIG.parameter_entries, *fields))
    address = 0x200
    operands = {"rows": 1, "words": 256, "address": address, "base": 0, "slot": 0}
    moves.insert(3, Move(Opcode.LOAD, Space.TABLE, operands))
    for n in range(256):
        entry = int.from_bytes(MACHINE.memory[address + 4 * n : address + 4 * n + 4], "little")
        table.append((n, entry & 0xFFFF, entry >> 16))
    rows = random_move(Opcode.LOAD, Space.ROWS8)
    moves.insert(2, rows)
    MACHINE.execute(rows)
    await bench.load.send([move.encoded for move in moves])
    await bench.until("load", len(moves))
    assert bench.parameters == parameters
    assert bench.table == table
    await bench.check_scratchpad()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def nothing_is_soon_done(dut):
    bench = Bench(dut)
    await bench.start()
    empty = []
    for opcode, space in itertools.product((Opcode.LOAD, Opcode.STORE), (Space(0), Space(1))):
        for name in ("rows", "words"):
            empty.append(random_move(opcode, space))
            empty[-1].operands[name] = 0
            if opcode is Opcode.STORE:
                empty.append(random_range(random_move(opcode, space)))
                empty[-1].operands[name] = 0
    moves = [random_move(Opcode.LOAD, Space.ROWS16), *empty]
    moves += [random_move(Opcode.STORE, Space.ROWS8), random_move(Opcode.LOAD, Space.ROWS8)]
    await bench.run(moves)
    await bench.check_scratchpad()
    bench.check_memory()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(space=[Space.ROWS16, Space.ROWS8], gap=[0, 1])
async def loads_stream_a_beat_each_cycle(dut, space, gap):
    bench = Bench(dut)
    await bench.start()
    words = 2 * CONFIG.lanes // W * 4
    beats = words * L * (2 if space == Space.ROWS16 else 1) // W
    rows = min(600 // beats, CONFIG.scratchpad_words // words // 2)
    operands = {"rows": rows, "words": words, "address": 0, "pitch": (beats + gap) * W}
    operands |= {"base": 0, "stride": words, "slot": 0}
    first = Move(Opcode.LOAD, space, operands)
    second = Move(Opcode.LOAD, space, operands | {"base": CONFIG.scratchpad_words // 2})
    cocotb.start_soon(bench.load.send([first.encoded, second.encoded]))
    while not bench.beats:
        await bench.edge
    cycles = 0
    while bench.done["load"] < 2:
        await bench.edge
        cycles += 1
    for move in (first, second):
        MACHINE.execute(move)
    assert bench.beats == 2 * rows * beats
    print(f"{bench.beats} beats in {cycles} cycles")
    # Two words of a beat are written one after the other.
    assert cycles <= 1.05 * max(bench.beats, 2 * rows * words) + 24
    await bench.check_scratchpad()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(space=[Space.ROWS16, Space.ROWS8])
async def a_long_store_waits_for_memory(dut, space):
    bench = Bench(dut, (1, 1, 1, 0))
    await bench.start()
    # More beats than can wait in the writer.
    operands = {"rows": 1, "words": 150, "pitch": 0, "base": 20, "stride": 0, "slot": 0}
    load = Move(Opcode.LOAD, Space.ROWS16, operands | {"address": 0})
    store = Move(Opcode.STORE, space, operands | {"address": SIZE // 2})
    await bench.run([load, store])
    bench.check_memory()


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(space=[Space.ROWS16, Space.ROWS8])
async def a_range_is_all_that_need_be_inside(dut, space):
    """The beat of the last element is the last one of the window."""
    bench = Bench(dut)
    await bench.start()
    size = 2 if space == Space.ROWS16 else 1
    for words in (2, 4):
        range_ = {"first": L - 1, "count": 2}
        end = -(-(L + 1) * size // W) * W
        place = {"rows": 1, "words": words, "pitch": 0, "base": 40, "stride": 0, "slot": 0}
        move = Move(Opcode.STORE, space, place | range_ | {"address": SIZE - end})
        await bench.run([move])
    bench.check_memory()
    move.operands["address"] += W
    cocotb.start_soon(bench.store.send([move.encoded]))
    await ClockCycles(dut.clk, 300)
    assert dut.fault.value == Cause.OUTSIDE_WINDOW
    assert bench.ram.read(BASE + SIZE, 4096) == bytes(4096)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(opcode=[Opcode.LOAD, Opcode.STORE])
async def a_row_outside_the_window_stops_it(dut, opcode):
    bench = Bench(dut)
    await bench.start()
    move = random_move(opcode, Space.ROWS16)
    move.operands |= {"rows": 3, "pitch": move.row_bytes + W, "address": SIZE - move.row_bytes}
    unit = opcode.name.lower()
    cocotb.start_soon(getattr(bench, unit).send([move.encoded]))
    await ClockCycles(dut.clk, 300)
    assert dut.fault.value == Cause.OUTSIDE_WINDOW
    assert not bench.done[unit]
    assert getattr(dut, f"{unit}_busy").value
    assert bench.ram.read(BASE + SIZE, 4096) == bytes(4096)
    assert all(a + n * W <= BASE + SIZE for a, n in bench.reads)
