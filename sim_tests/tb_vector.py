"""Bench of the vector unit: programs on a scratchpad with random delays and stalls."""

import json
import os
import random
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from norms import norm_columns, norm_rows
from pipelines import noise, packed

from celosia.config import MachineConfig
from celosia.cores.row_functions import RowFunctions
from celosia.golden.machine import GoldenMachine
from celosia.golden.memory import MachineState
from celosia.golden.vector import execute_argmax, execute_multiply, execute_norm
from celosia.isa import FLAGS, OPCODES, Flag, Instruction, Opcode
from celosia.rtl.exponents import ScratchpadWrite

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
WRITE_LATENCY = int(os.environ["WRITE_LATENCY"])
LANES = CONFIG.lanes
DEPTH = CONFIG.scratchpad_words
COMPLEX, NARROW = Flag.COMPLEX, Flag.NARROW
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


class Operation:
    """One instruction, its operands in the scratchpad, and what comes of it.

    The rows of x lie from `at` on, then what else is read, then the result.

    Attributes
    ----------
    opcode : Opcode
    execute : callable
        What does the same in the golden machine.
    operands : dict
    flags : Flag
    end : int
        First word behind its operands.
    reads : int
        Words that it reads.
    """

    opcode: Opcode
    execute: Callable[[MachineState, Instruction], None]

    def __init__(
        self, m: int, words: int, others: int, *, at: int, in_place: bool = False, **operands: int
    ) -> None:
        self.m, self.words = m, words
        x_stride = words + (0 if in_place else 1)
        others_base = at + m * x_stride
        y_base = at if in_place else others_base + others
        y_stride = x_stride if in_place else self.result_words + 2
        self.others = others_base
        self.flags = Flag(0)
        self.operands = {
            "m": m,
            "words": words,
            "x_base": at,
            "x_stride": x_stride,
            "y_base": y_base,
            "y_stride": y_stride,
            "y_slot": 3,
            **operands,
        }
        self.end = max(others_base + others, y_base + m * y_stride)
        assert self.end <= DEPTH

    @property
    def result_words(self) -> int:
        return self.words

    @property
    def instruction(self) -> Instruction:
        return Instruction(self.opcode, self.operands, self.flags)

    @property
    def payload(self) -> int:
        """The instruction; other flags and what is no operand of it hold anything."""
        word = int.from_bytes(self.instruction.encode(), "little")
        taken = 0xFFFF | int(FLAGS[self.opcode]) << 16
        for field in OPCODES[self.opcode][1]:
            taken |= (1 << field.width) - 1 << field.lsb
        return word | random.getrandbits(512) & ~taken

    def rows(self, name: str) -> np.ndarray:
        """Addresses of the words of the rows x or y."""
        rows = self.operands[f"{name}_base"] + self.operands[f"{name}_stride"] * np.arange(self.m)
        words = self.words if name == "x" else self.result_words
        return rows[:, np.newaxis] + np.arange(words)

    def fill(self, memory: np.ndarray, where: np.ndarray, values: np.ndarray) -> None:
        """Put values (rows, n) into the first lanes of rows; the others keep what they hold."""
        rows = memory[where].reshape(len(where), -1)
        rows[:, : values.shape[1]] = values
        memory[where] = rows.reshape(*where.shape, LANES)

    def prepare(self, memory: np.ndarray) -> None:
        """Put the operands into the memory."""
        raise NotImplementedError

    @property
    def writes(self) -> list[tuple[int, int, int]]:
        """Address, slot and `first` of each write."""
        resets = Flag.KEEP_EXPONENT not in self.flags
        return [
            (int(word), self.operands["y_slot"] + row, int(column == 0 and resets))
            for row, words in enumerate(self.rows("y"))
            for column, word in enumerate(words)
        ]


class Norm(Operation):
    opcode = Opcode.NORM
    execute = staticmethod(execute_norm)

    def __init__(self, m, n, *, shift=13, epsilon=1, more_words=0, rms=False, **place) -> None:
        words = -(-n // LANES) + more_words
        super().__init__(m, words, 2 * words, n=n, shift=shift, epsilon=epsilon, **place)
        self.operands |= {"gamma": self.others, "beta": self.others + words}
        self.flags = Flag.RMS if rms else Flag(0)
        self.reads = 4 * m * words

    def prepare(self, memory):
        n = self.operands["n"]
        self.fill(memory, self.rows("x"), norm_rows(rng, self.m, n))
        columns = self.others + np.arange(2 * self.words).reshape(2, -1)
        self.fill(memory, columns, norm_columns(rng, n, self.operands["shift"]))


class Multiply(Operation):
    opcode = Opcode.MULTIPLY
    execute = staticmethod(execute_multiply)

    def __init__(self, m, words, *, flags=Flag(0), period=0, w_stride=0, shift=15, **place) -> None:  # noqa: B008
        others = (m - 1) * w_stride + (period or words)
        super().__init__(m, words, others, shift=shift, **place)
        self.operands |= {"w_base": self.others, "w_stride": w_stride, "period": period}
        self.flags = flags
        self.reads = 2 * m * words

    def prepare(self, memory):
        where = np.concatenate([self.rows("x").ravel(), np.arange(self.others, self.end)])
        extremes = rng.choice([-32768, -1, 0, 1, 32767], (len(where), LANES))
        values = np.where(rng.random((len(where), 1)) < 0.3, extremes, memory[where])
        memory[where] = values


class Argmax(Operation):
    opcode = Opcode.ARGMAX
    execute = staticmethod(execute_argmax)

    def __init__(self, m, n, *, first=0, more_words=0, continues=False, **place) -> None:
        words = -(-n // LANES) + more_words
        super().__init__(m, words, 0, n=n, first=first, **place)
        self.flags = Flag.CONTINUE if continues else Flag(0)
        self.reads = m * (words + 1)

    @property
    def result_words(self) -> int:
        return 1

    def prepare(self, memory):
        n = self.operands["n"]
        spread = rng.choice([2, 1 << 15], (self.m, 1))
        x = rng.integers(-spread, spread, (self.m, n))
        x[rng.random(self.m) < 0.2] = -32768
        self.fill(memory, self.rows("x"), x)
        near = np.clip(
            x.max(axis=1, keepdims=True) + rng.integers(-1, 2, (self.m, 1)), -32768, 32767
        )
        self.fill(memory, self.rows("y"), near)


async def run(dut, operations: list[Operation], *, stall: float, delay: int) -> Scratchpad:
    """Run instructions back to back; check the memory, the writes and the strobes."""
    Clock(dut.clk, 10, unit="ns").start()
    dut.instruction__valid.value = 0
    dut.words__valid.value = 0
    dut.rst.value = 1
    await ClockCycles(dut.clk, 2)
    dut.rst.value = 0
    pad = Scratchpad(dut, stall=stall, delay=delay)
    for operation in operations:
        operation.prepare(pad.memory)
    state = GoldenMachine(CONFIG, bytearray(64)).state
    state.scratchpad.words[:] = pad.memory
    writes, ends = [], []
    for operation in operations:
        operation.execute(state, operation.instruction)
        writes += operation.writes
        ends.append(len(writes))
    runner = cocotb.start_soon(pad.run())

    for operation in operations:
        dut.instruction__payload.value = operation.payload
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
    assert pad.requests == sum(operation.reads for operation in operations) and not pad.asked
    wrong = np.flatnonzero((pad.memory != state.scratchpad.words).any(axis=1)).tolist()
    assert not wrong, f"words {wrong[:8]} are wrong"
    return pad


def placed(*kinds: Callable[..., Operation]) -> list[Operation]:
    """Make operations, each behind the operands of the one before."""
    operations, at = [], 0
    for kind in kinds:
        operations.append(kind(at=at))
        at = operations[-1].end
    return operations


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5, 0.85], delay=[3, 9])
async def norms_match_golden(dut, stall, delay):
    operations = placed(
        partial(Norm, 1, 5, epsilon=9),
        partial(Norm, 12, 33, more_words=1),
        partial(Norm, 9, LANES, shift=3, in_place=True),
        partial(Norm, 11, 27, shift=40, epsilon=(1 << 32) - 1),
        partial(Norm, 9, 29, rms=True, in_place=True),
        partial(Norm, 3, 2, more_words=2, in_place=True),
        partial(Norm, 10, 1),
    )
    await run(dut, operations, stall=stall, delay=delay)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5, 0.85], delay=[3, 9])
async def products_match_golden(dut, stall, delay):
    keeps = Flag.KEEP_EXPONENT
    operations = placed(
        partial(Multiply, 1, 1, shift=0),
        partial(Multiply, 6, 5, w_stride=7, in_place=True),
        partial(Multiply, 5, 6, flags=COMPLEX, period=2, w_stride=2),
        partial(Multiply, 4, 7, flags=COMPLEX | NARROW, period=3, shift=24, in_place=True),
        partial(Multiply, 7, 1, flags=NARROW | keeps, w_stride=1, shift=20),
        partial(Multiply, 3, 4, flags=keeps, period=1, shift=31),
        partial(Multiply, 9, 2, flags=COMPLEX, period=9, shift=16),
    )
    await run(dut, operations, stall=stall, delay=delay)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5, 0.85], delay=[3, 9])
async def largest_elements_match_golden(dut, stall, delay):
    operations = placed(
        partial(Argmax, 1, 1),
        partial(Argmax, 7, 5, first=70_000, continues=True),
        partial(Argmax, 5, 3 * LANES - 1, more_words=1),
        partial(Argmax, 4, 40, first=(1 << 32) - 20, continues=True),
        partial(Argmax, 9, LANES, first=12),
    )
    await run(dut, operations, stall=stall, delay=delay)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.6])
async def functions_follow_each_other(dut, stall):
    """Whatever ran before, in any order, leaves nothing behind."""
    kinds = [
        partial(Norm, 3, 9),
        partial(Multiply, 3, 2, flags=COMPLEX, shift=14),
        partial(Argmax, 2, 11, continues=True),
        partial(Norm, 2, LANES, rms=True),
        partial(Multiply, 2, 2),
    ]
    order = [*kinds, *(kinds[rng.integers(len(kinds))] for _ in range(20))]
    await run(dut, placed(*order), stall=stall, delay=4)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def sees_the_result_of_the_one_before(dut):
    """An instruction reads, right after, what the one before wrote."""
    kinds = partial(Norm, 1, 2 * LANES), partial(Multiply, 1, 2), partial(Argmax, 1, 2 * LANES)
    operations = placed(*kinds, *kinds)
    for one, other in pairwise(operations):
        other.operands["x_base"] = one.operands["y_base"]
    await run(dut, operations, stall=0.0, delay=3)


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(words=[1, 5, 12])
async def keeps_its_rate(dut, words):
    norm = Norm(20, words * LANES, in_place=True, at=0)
    pad = await run(dut, [norm], stall=0.0, delay=3)
    per_row = max(words * max(4, LANES // CONFIG.vector_lanes), RowFunctions.ROW_CYCLES)
    ends = np.array(pad.cycles[words - 1 :: words])
    # The root of one row may take nine cycles more than that of another.
    assert ends[-1] - ends[9] <= 10 * per_row + 9
    # The first row takes two passes and the scalars' time.
    assert ends[0] <= 2 * per_row + 160


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(words=[1, 12], flags=[Flag(0), COMPLEX])
async def multiplies_at_its_rate(dut, words, flags):
    """A word takes two reads or its chunks, whichever is more, over the ends of rows."""
    product = Multiply(20, words, flags=flags, in_place=True, at=0)
    pad = await run(dut, [product], stall=0.0, delay=3)
    per_word = max(2, LANES // CONFIG.vector_lanes)
    assert set(np.diff(pad.cycles)) == {per_word}
    assert pad.cycles[0] <= per_word + 32


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def searches_at_its_rate(dut):
    search = Argmax(3, 40 * LANES, at=0)
    pad = await run(dut, [search], stall=0.0, delay=3)
    per_word = LANES // CONFIG.vector_lanes
    assert max(np.diff([0, *pad.cycles])) <= 40 * per_word + 45
