"""Bench of scratchpad and exponents: every word, every port, every promised cycle."""

import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, ReadOnly, RisingEdge
from streams import Sink, Source

from celosia.config import MachineConfig
from celosia.rtl.exponents import ScratchpadWrite

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
READERS, WRITERS = int(os.environ["READERS"]), int(os.environ["WRITERS"])
WRITE_LATENCY = int(os.environ["WRITE_LATENCY"])
READ_LATENCY = 4
L, C = CONFIG.lanes, CONFIG.columns
PARTS = L // C
LAYOUT = ScratchpadWrite(CONFIG)
CORNERS = [-32768, 32767, -32767, 127, 128, -128, -129, 255, -256, -257, 0, -1, 1]


def word_exponent(lanes: list[int]) -> int:
    bits = 0
    for lane in lanes:
        bits |= lane if lane >= 0 else -1 - lane
    return max(0, bits.bit_length() - 7)


class Model:
    """What the memories hold."""

    def __init__(self) -> None:
        self.words = [[0] * L for _ in range(CONFIG.scratchpad_words)]
        self.exponents = [0] * CONFIG.exponent_slots

    def write(self, address: int, data: list[int], mask: int, slot: int, first: int) -> None:
        lanes = [lane for lane in range(L) if mask >> (lane // C) & 1]
        for lane in lanes:
            self.words[address][lane] = data[lane]
        e = word_exponent([data[lane] for lane in lanes])
        self.exponents[slot] = e if first else max(self.exponents[slot], e)


#: Reset does not clear the memories, so what one test wrote the next one finds.
MODEL = Model()


def random_word() -> list[int]:
    scale = random.randrange(1, 17)
    low, high = -(1 << (scale - 1)), (1 << (scale - 1)) - 1
    return [
        random.choice(CORNERS) if random.random() < 0.03 else random.randint(low, high)
        for _ in range(L)
    ]


def pack_write(address: int, data: list[int], mask: int, slot: int, first: int) -> int:
    fields = {"address": address, "data": data, "mask": mask, "slot": slot, "first": first}
    return LAYOUT.const(fields).as_value().value


def unpack_write(value: int) -> dict:
    view = LAYOUT.from_bits(value)
    return {
        "address": view.address,
        "data": [view.data[lane] for lane in range(L)],
        "mask": view.mask,
        "slot": view.slot if CONFIG.exponent_slots > 1 else 0,
        "first": view.first,
    }


def pack_word(word: list[int]) -> int:
    return sum((lane & 0xFFFF) << (16 * index) for index, lane in enumerate(word))


class Bench:
    def __init__(self, dut, *, source_stall=0.0, sink_stall=0.0) -> None:
        self.dut = dut
        self.edge = RisingEdge(dut.clk)
        self.model = MODEL
        self.writers = [Source(dut, f"writes__{n}", stall=source_stall) for n in range(WRITERS)]
        self.requests = [Source(dut, f"requests__{n}", stall=source_stall) for n in range(READERS)]
        self.words = [Sink(dut, f"words__{n}", stall=sink_stall) for n in range(READERS)]

    async def start(self) -> None:
        Clock(self.dut.clk, 10, unit="ns").start()
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 2)
        self.dut.rst.value = 0
        await self.edge
        cocotb.start_soon(self.watch_writes())

    async def watch_writes(self) -> None:
        """Apply what is taken to the model; check who may write."""
        while True:
            await self.edge
            asking = [bool(w.valid.value) for w in self.writers]
            ready = [bool(w.ready.value) for w in self.writers]
            assert ready == [not any(asking[:n]) for n in range(WRITERS)]
            for writer, valid, taken in zip(self.writers, asking, ready, strict=True):
                if valid and taken:
                    self.model.write(**unpack_write(writer.payload.value.to_unsigned()))

    async def write(self, index: int, writes: list[int]) -> None:
        await self.writers[index].send(writes)

    async def read(self, index: int, addresses: list[int]) -> None:
        """Read words that nobody writes meanwhile, and compare them."""
        expected = [pack_word(self.model.words[address]) for address in addresses]
        cocotb.start_soon(self.requests[index].send(addresses))
        got = await self.words[index].receive(len(addresses), signed=False)
        assert got == expected, f"reader {index}"

    async def exponent(self, reader: int, slot: int) -> int:
        getattr(self.dut, f"reads__{reader}__address").value = slot
        await self.edge
        await ReadOnly()
        value = getattr(self.dut, f"reads__{reader}__exponent").value.to_unsigned()
        await self.edge
        return value

    async def check_all(self) -> None:
        await ClockCycles(self.dut.clk, WRITE_LATENCY)
        for index in range(READERS):
            await self.read(index, list(range(CONFIG.scratchpad_words)))
        for slot in range(CONFIG.exponent_slots):
            assert await self.exponent(slot % 2, slot) == self.model.exponents[slot], slot


def random_write(addresses: range) -> int:
    return pack_write(
        random.choice(addresses),
        random_word(),
        random.randrange(1 << PARTS),
        random.randrange(min(4, CONFIG.exponent_slots)),
        random.random() < 0.3,
    )


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(source_stall=[0.0, 0.5], sink_stall=[0.0, 0.6])
async def every_port_at_once(dut, source_stall, sink_stall):
    bench = Bench(dut, source_stall=source_stall, sink_stall=sink_stall)
    await bench.start()
    half = CONFIG.scratchpad_words // 2
    halves = [range(half), range(half, 2 * half)]
    whole = [pack_write(a, random_word(), (1 << PARTS) - 1, a % 4, 1) for a in range(2 * half)]
    await bench.write(0, whole)
    for turn in range(4):
        await ClockCycles(dut.clk, WRITE_LATENCY)
        written, read = halves[turn % 2], halves[1 - turn % 2]
        tasks = [
            cocotb.start_soon(bench.write(n, [random_write(written) for _ in range(60)]))
            for n in range(WRITERS)
        ]
        # The second half of the readings is of one bank only.
        one_bank = read[:: CONFIG.scratchpad_banks]
        for choice in (read, one_bank):
            reads = [
                cocotb.start_soon(bench.read(n, [random.choice(choice) for _ in range(60)]))
                for n in range(READERS)
            ]
            for task in reads:
                await task
        for task in tasks:
            await task
    await bench.check_all()


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_lone_reader_has_a_word_each_cycle(dut):
    bench = Bench(dut)
    await bench.start()
    for reader in range(READERS):
        sink = bench.words[reader]
        sink.ready.value = 1
        cocotb.start_soon(bench.requests[reader].send([5] * 50))
        await bench.edge
        given = []
        for cycle in range(1, 60):
            await bench.edge
            if sink.valid.value:
                given.append(cycle)
        # The first request was taken at the end of cycle 0.
        assert given == list(range(READ_LATENCY, READ_LATENCY + 50)), given
        sink.ready.value = 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def banks_serve_readers_at_once(dut):
    bench = Bench(dut)
    await bench.start()
    busy = min(READERS, CONFIG.scratchpad_banks)
    addresses = [[n + CONFIG.scratchpad_banks * k for k in range(10)] * 5 for n in range(busy)]
    tasks = [cocotb.start_soon(bench.read(n, addresses[n])) for n in range(busy)]
    await ClockCycles(dut.clk, 50 + READ_LATENCY + 3)
    assert all(task.done() for task in tasks)
    for task in tasks:
        await task


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_reader_that_does_not_take_blocks_no_other(dut):
    bench = Bench(dut)
    await bench.start()
    cocotb.start_soon(bench.requests[0].send([4] * 20))
    await ClockCycles(dut.clk, 20)
    assert not bench.requests[0].ready.value
    for index in range(1, READERS):
        await bench.read(index, [4, 0] * 10)
    got = await bench.words[0].receive(20, signed=False)
    assert got == [pack_word(bench.model.words[4])] * 20


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def a_write_can_be_read_after_its_latency(dut):
    bench = Bench(dut)
    await bench.start()
    dut.words__0__ready.value = 1
    source = bench.writers[0]
    for trial in range(20):
        data = random_word()
        data[0] = random.choice(CORNERS)
        source.payload.value = pack_write(trial, data, (1 << PARTS) - 1, 3, 1)
        source.valid.value = 1
        await bench.edge  # presented from here on, taken at the end of this cycle
        source.valid.value = 0
        await ClockCycles(dut.clk, WRITE_LATENCY - 1)
        # This is cycle WRITE_LATENCY after the one in which it was taken.
        bench.requests[0].payload.value = trial
        bench.requests[0].valid.value = 1
        dut.reads__1__address.value = 3
        await bench.edge
        bench.requests[0].valid.value = 0
        dut.reads__1__address.value = 7
        await ReadOnly()
        assert dut.reads__1__exponent.value.to_unsigned() == word_exponent(data)
        for _ in range(READ_LATENCY):
            await bench.edge
        assert dut.words__0__valid.value
        assert dut.words__0__payload.value.to_unsigned() == pack_word(data)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def exponents_of_rows_back_to_back(dut):
    bench = Bench(dut)
    await bench.start()
    writes = []
    for _ in range(40):
        # Rows of several words, then two rows in turn, with no gap between words.
        slot, other = random.sample(range(CONFIG.exponent_slots), 2)
        words = random.randrange(1, 5)
        writes += [pack_write(k, random_word(), 1, slot, k == 0) for k in range(words)]
        for k in range(words):
            writes.append(pack_write(k, random_word(), 1, slot, k == 0))
            writes.append(pack_write(k, random_word(), 1, other, k == 0))
    await bench.write(0, writes)
    for value in CORNERS:
        await bench.write(0, [pack_write(1, [value] * L, 1, 0, 1)])
        await ClockCycles(dut.clk, WRITE_LATENCY)
        assert await bench.exponent(0, 0) == word_exponent([value])
    await bench.check_all()
