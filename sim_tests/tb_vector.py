"""Bench of the vector unit: programs of NORM on a scratchpad with random delays and stalls."""

import json
import os
import random
from collections import deque

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from norms import norm_columns, norm_rows
from pipelines import noise, packed

from celosia.config import MachineConfig
from celosia.cores.layernorm import LayerNorm
from celosia.golden.layernorm import layernorm
from celosia.isa import Instruction, Opcode
from celosia.rtl.exponents import ScratchpadWrite

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
WRITE_LATENCY = int(os.environ["WRITE_LATENCY"])
LANES = CONFIG.lanes
DEPTH = CONFIG.scratchpad_words
ROOM = 4  # words that the scratchpad holds for a reader

rng = np.random.default_rng(0)


class Scratchpad:
    """What the vector unit sees of the scratchpad.

    A word is read when its answer is due, `delay` cycles or more after its request; a write is
    seen `WRITE_LATENCY` cycles after it was taken.
    """

    def __init__(self, dut, *, stall: float, delay: int) -> None:
        self.dut = dut
        self.stall = stall
        self.delay = delay
        self.memory = rng.integers(-32768, 32768, (DEPTH, LANES))
        self.asked: deque[list[int]] = deque()  # cycle in which it is due, address
        self.landing: deque[tuple[int, int, list[int]]] = deque()
        self.log: list[tuple[int, int, int]] = []  # address, slot, first
        self.cycles: list[int] = []  # of the writes
        self.done: list[tuple[int, int]] = []  # words written, cycles since the last of them
        self.requests = 0
        self.cycle = 0

    def drive(self) -> None:
        """Set the inputs of the coming cycle."""
        dut = self.dut
        dut.requests__ready.value = len(self.asked) < ROOM and random.random() >= self.stall
        dut.writes__ready.value = random.random() >= self.stall
        # An answer, once offered, stays.
        offered = bool(dut.words__valid.value) and not self.answered
        due = self.asked and self.asked[0][0] <= self.cycle
        if offered:
            return
        if due and random.random() >= self.stall:
            dut.words__valid.value = 1
            dut.words__payload.value = packed(self.memory[self.asked[0][1]].tolist(), 16)
        else:
            dut.words__valid.value = 0
            noise([dut.words__payload])

    def observe(self) -> None:
        """Note what happened in the cycle that ends."""
        dut = self.dut
        self.answered = bool(dut.words__valid.value) and bool(dut.words__ready.value)
        if self.answered:
            self.asked.popleft()
        if dut.requests__valid.value and dut.requests__ready.value:
            address = dut.requests__payload.value.to_unsigned()
            self.asked.append([self.cycle + self.delay, address])
            self.requests += 1
        while self.landing and self.landing[0][0] <= self.cycle:
            _, address, word = self.landing.popleft()
            self.memory[address] = word
        if dut.done.value:
            self.done.append((len(self.log), self.cycle - self.cycles[-1]))
        if dut.writes__valid.value and dut.writes__ready.value:
            write = ScratchpadWrite(CONFIG).from_bits(dut.writes__payload.value.to_unsigned())
            assert write.mask == (1 << LANES // CONFIG.columns) - 1
            self.landing.append((self.cycle + WRITE_LATENCY, write.address, list(write.data)))
            self.log.append((write.address, write.slot, write.first))
            self.cycles.append(self.cycle)

    async def run(self) -> None:
        self.answered = False
        while True:
            self.drive()
            await RisingEdge(self.dut.clk)
            self.observe()
            self.cycle += 1


class Norm:
    """One instruction, its operands in the scratchpad, and what comes of it."""

    def __init__(self, m: int, n: int, *, shift=13, epsilon=1, more_words=0, in_place=False, at=0):
        self.m, self.n, self.shift, self.epsilon = m, n, shift, epsilon
        self.words = -(-n // LANES) + more_words
        self.at = at
        x_stride = self.words + (0 if in_place else 1)
        y_stride = self.words + (0 if in_place else 2)
        x_size = m * x_stride
        columns = at + x_size
        y_base = at if in_place else columns + 2 * self.words
        self.operands = {
            "m": m,
            "n": n,
            "words": self.words,
            "x_base": at,
            "x_stride": x_stride,
            "gamma": columns,
            "beta": columns + self.words,
            "y_base": y_base,
            "y_stride": y_stride,
            "y_slot": 3,
            "shift": shift,
            "epsilon": epsilon,
        }
        self.end = max(columns + 2 * self.words, y_base + m * y_stride)
        assert self.end <= DEPTH

    @property
    def payload(self) -> int:
        return int.from_bytes(Instruction(Opcode.NORM, self.operands).encode(), "little")

    def rows(self, name: str) -> np.ndarray:
        """Addresses of the words of the rows x or y."""
        rows = self.operands[f"{name}_base"] + self.operands[f"{name}_stride"] * np.arange(self.m)
        return rows[:, np.newaxis] + np.arange(self.words)

    def prepare(self, memory: np.ndarray) -> None:
        """Put rows and columns into the memory."""
        where = self.rows("x")
        x = memory[where].reshape(self.m, -1)
        x[:, : self.n] = norm_rows(rng, self.m, self.n)
        memory[where] = x.reshape(*where.shape, LANES)
        where = self.operands["gamma"] + np.arange(2 * self.words)
        columns = memory[where].reshape(2, -1)
        columns[:, : self.n] = norm_columns(rng, self.n, self.shift)
        memory[where] = columns.reshape(-1, LANES)

    def execute(self, memory: np.ndarray) -> list[tuple[int, int, int]]:
        """Do in the memory what the unit does; return the writes."""
        where = self.rows("x")
        gamma, beta = (
            memory[self.operands[name] : self.operands[name] + self.words].reshape(-1)[: self.n]
            for name in ("gamma", "beta")
        )
        y = np.zeros((self.m, self.words * LANES), np.int64)
        y[:, : self.n] = layernorm(
            memory[where].reshape(self.m, -1)[:, : self.n],
            gamma,
            beta,
            shift=self.shift,
            epsilon=self.epsilon,
        )
        where = self.rows("y")
        memory[where] = y.reshape(*where.shape, LANES)
        return [
            (int(word), self.operands["y_slot"] + row, int(column == 0))
            for row, words in enumerate(where)
            for column, word in enumerate(words)
        ]


async def run(dut, norms: list[Norm], *, stall: float, delay: int) -> Scratchpad:
    """Run instructions back to back; check the memory, the writes and the strobes."""
    Clock(dut.clk, 10, unit="ns").start()
    dut.instruction__valid.value = 0
    dut.words__valid.value = 0
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    pad = Scratchpad(dut, stall=stall, delay=delay)
    for norm in norms:
        norm.prepare(pad.memory)
    expected = pad.memory.copy()
    writes, ends = [], []
    for norm in norms:
        writes += norm.execute(expected)
        ends.append(len(writes))
    runner = cocotb.start_soon(pad.run())

    for norm in norms:
        dut.instruction__payload.value = norm.payload
        dut.instruction__valid.value = 1
        await RisingEdge(dut.clk)
        while not dut.instruction__ready.value:
            await RisingEdge(dut.clk)
        assert dut.busy.value
        dut.instruction__valid.value = 0
        if random.random() < stall:
            noise([dut.instruction__payload])
            await ClockCycles(dut.clk, random.randrange(1, 4))
            assert not dut.busy.value
    await ClockCycles(dut.clk, WRITE_LATENCY + 20)
    runner.cancel()

    assert pad.log == writes
    assert pad.done == [(end, WRITE_LATENCY) for end in ends]
    assert pad.requests == 4 * len(writes) and not pad.asked
    wrong = np.flatnonzero((pad.memory != expected).any(axis=1)).tolist()
    assert not wrong, f"words {wrong[:8]} are wrong"
    return pad


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5, 0.85], delay=[3, 9])
async def matches_golden(dut, stall, delay):
    shapes = [
        {"m": 1, "n": 5, "epsilon": 9},
        {"m": 12, "n": 33, "more_words": 1},
        {"m": 9, "n": LANES, "shift": 3, "in_place": True},
        {"m": 11, "n": 27, "shift": 40, "epsilon": (1 << 32) - 1},
        {"m": 3, "n": 2, "more_words": 2, "in_place": True},
        {"m": 10, "n": 1},
    ]
    norms, at = [], 0
    for shape in shapes:
        norms.append(Norm(**shape, at=at))
        at = norms[-1].end
    await run(dut, norms, stall=stall, delay=delay)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sees_the_result_of_the_one_before(dut):
    """An instruction reads, right after, what the one before wrote."""
    first = Norm(1, 2 * LANES)
    second = Norm(1, 2 * LANES, at=first.end)
    second.operands["x_base"] = first.operands["y_base"]
    await run(dut, [first, second], stall=0.0, delay=3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(words=[1, 5, 12])
async def keeps_its_rate(dut, words):
    norm = Norm(20, words * LANES, in_place=True)
    pad = await run(dut, [norm], stall=0.0, delay=3)
    per_row = max(words * max(4, LANES // CONFIG.vector_lanes), LayerNorm.ROW_CYCLES)
    ends = np.array(pad.cycles[words - 1 :: words])
    # The root of one row may take nine cycles more than that of another.
    assert ends[-1] - ends[9] <= 10 * per_row + 9
    # The first row takes two passes and the scalars' time.
    assert ends[0] <= 2 * per_row + 160
