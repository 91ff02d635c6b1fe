"""Bench of a unit's queue: instructions come in order, with their tokens, and none is lost."""

import os
import random
from collections import deque

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge
from streams import Sink, Source, reset

from celosia.isa import INSTRUCTION_BYTES, OPCODES, Unit

UNIT = Unit(int(os.environ["UNIT"]))
WORD = 8 * INSTRUCTION_BYTES
#: Opcode, masks and flags, and what the operations of the unit have as operands.
KEPT = (1 << 32) - 1
for of, operands in OPCODES.values():
    if of == UNIT:
        for operand in operands:
            KEPT |= ((1 << operand.width) - 1) << operand.lsb


def wait(word: int) -> int:
    return word >> 8 & 15


def signal(word: int) -> int:
    return word >> 12 & 15


async def begin(dut) -> None:
    dut.done.value = 0
    dut.tokens__may_start.value = 0
    await reset(dut)


async def give_tokens(dut, words: list[int], missing: float) -> None:
    """Let tokens come sooner or later; those of the next instruction stay until it starts."""
    for word in words:
        while random.random() < missing:
            await RisingEdge(dut.clk)
        dut.tokens__may_start.value = 1
        await RisingEdge(dut.clk)
        while not dut.tokens__starts.value:
            await RisingEdge(dut.clk)
        assert dut.tokens__wait.value == wait(word)
        assert dut.tokens__promise.value == signal(word)
        dut.tokens__may_start.value = 0


async def end(dut, started: deque[tuple[int, int]], count: int, slow: float) -> None:
    """End what the unit has taken, in order."""
    for _ in range(count):
        while not started or random.random() < slow:
            await RisingEdge(dut.clk)
        word, address = started.popleft()
        dut.done.value = 1
        await RisingEdge(dut.clk)
        assert dut.tokens__signal.value == signal(word)
        assert dut.oldest.value == address
        dut.done.value = 0


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(source_stall=[0.0, 0.7], unit_stall=[0.0, 0.9], missing=[0.0, 0.8])
async def nothing_is_lost(dut, source_stall, unit_stall, missing):
    source = Source(dut, "i", stall=source_stall)
    sink = Sink(dut, "o", stall=unit_stall)
    await begin(dut)
    items = [(random.getrandbits(WORD), random.getrandbits(32)) for _ in range(200)]
    words = [word for word, _ in items]
    cocotb.start_soon(source.send([word | address << WORD for word, address in items]))
    tokens = cocotb.start_soon(give_tokens(dut, words, missing))
    started: deque[tuple[int, int]] = deque()
    ends = cocotb.start_soon(end(dut, started, len(items), random.choice([0.0, 0.9])))
    for item in items:
        (got,) = await sink.receive(1, signed=False)
        assert got == item[0] & KEPT
        assert not dut.idle.value
        started.append(item)
    await tokens
    await ends
    await ClockCycles(dut.clk, 2)
    assert dut.idle.value and not sink.valid.value


@cocotb.test(timeout_time=1, timeout_unit="ms")
@cocotb.parametrize(waits=[True, False])
async def it_is_filled(dut, waits):
    """All wait for tokens; or one is offered, and the others wait behind it."""
    source = Source(dut, "i")
    sink = Sink(dut, "o")
    await begin(dut)
    dut.tokens__may_start.value = not waits
    source.payload.value = 0
    source.valid.value = 1
    taken = 0
    for _ in range(40):
        await RisingEdge(dut.clk)
        taken += int(source.ready.value)
    assert taken == (3 if UNIT is Unit.MATRIX else 2 - waits)
    assert sink.valid.value != waits
    assert dut.waits.value == waits
