"""Bench of the instruction register: what it offers, and when."""

import json
import os
import random
from dataclasses import replace
from itertools import pairwise

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from streams import Sink, Source

from celosia.compiler.cycles.sequencer import addition_cycles
from celosia.config import MachineConfig
from celosia.isa import ARGUMENT_SLOTS, ARGUMENTS, OPCODES, Flag, Instruction, Opcode, Unit

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
W = CONFIG.memory_width
#: What the argument registers hold: zero at first, and reset does not change it.
VALUES = [0] * ARGUMENTS


class Bench:
    def __init__(self, dut, *, stall=0.0) -> None:
        self.dut = dut
        self.data = Source(dut, "data", stall=stall)
        self.o = Sink(dut, "o", stall=stall)
        Clock(dut.clk, 10, unit="ns").start()

    async def start(self) -> None:
        self.dut.argument__valid.value = 0
        self.dut.discard.value = 0
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def set(self, values: list[int]) -> None:
        VALUES[:] = values
        for register, value in enumerate(values):
            self.dut.argument__valid.value = 1
            self.dut.argument__register.value = register
            self.dut.argument__value.value = value
            await RisingEdge(self.dut.clk)
        self.dut.argument__valid.value = 0

    def send(self, codes: list[bytes]) -> None:
        beats = [code[k : k + W] for code in codes for k in range(0, 64, W)]
        cocotb.start_soon(self.data.send(int.from_bytes(beat, "little") for beat in beats))


def random_arguments() -> list[int]:
    extremes = [0, 1, 0xFFFF, 0x8000, 0x10000, 0xFFFF_FFFF, 0x8000_0000]
    return [random.choice([*extremes, random.getrandbits(32)]) for _ in range(ARGUMENTS)]


def added(code: bytes, arguments: list[int]) -> bytes:
    """The 48 bytes of an instruction that hold its operands, with the arguments added."""
    kinds = {(f.lsb // 8, f.width // 8) for f in OPCODES[Opcode(code[0])][1] if f.width >= 16}
    body = bytearray(code[:48])
    for slot in range(48, 64, 2):
        place, size = 2 * (code[slot] & 31), 4 if code[slot] & 32 else 2
        if (place, size) in kinds:
            total = int.from_bytes(body[place : place + size], "little")
            total += arguments[code[slot + 1] & 31]
            body[place : place + size] = (total % 256**size).to_bytes(size, "little")
    return bytes(body)


def random_instruction(adds: int) -> Instruction:
    opcode = random.choice([op for op in Opcode if op is not Opcode.HALT])
    fields = OPCODES[opcode][1]
    operands = {f.name: random.choice([f.low, f.limit - 1, 0, 1]) for f in fields}
    names = [f.name for f in fields if f.width >= 16]
    return Instruction(
        opcode,
        operands,
        Flag(0),
        frozenset(random.sample(list(Unit), 2)),
        adds=tuple((random.choice(names), random.randrange(ARGUMENTS)) for _ in range(adds)),
    )


def noise() -> bytes:
    """Any bits behind an opcode; additions to anything, in any order."""
    code = bytearray(random.randbytes(64))
    code[0] = random.choice(list(Opcode))
    for slot in range(48, 64, 2):
        if random.random() < 0.4:
            code[slot] &= 0xE0  # empty
    return bytes(code)


@cocotb.test(timeout_time=2, timeout_unit="ms")
@cocotb.parametrize(stall=[0.0, 0.5])
async def adds_arguments_to_operands(dut, stall):
    bench = Bench(dut, stall=stall)
    await bench.start()
    for _ in range(4):
        codes = [noise() for _ in range(15)]
        codes += [random_instruction(random.randrange(9)).encode() for _ in range(25)]
        random.shuffle(codes)
        bench.send(codes)
        got = await bench.o.receive(len(codes), signed=False)
        for code, word in zip(codes, got, strict=True):
            assert word.to_bytes(64, "little")[:48] == added(code, VALUES), code.hex()
        await bench.set(random_arguments())


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def is_what_the_instruction_set_says(dut):
    """The additions apart, the word is that of the resolved instruction."""
    bench = Bench(dut)
    await bench.start()
    await bench.set(random_arguments())
    program = [random_instruction(random.randrange(9)) for _ in range(40)]
    bench.send([instruction.encode() for instruction in program])
    got = await bench.o.receive(len(program), signed=False)
    for instruction, word in zip(program, got, strict=True):
        decoded = Instruction.decode(word.to_bytes(64, "little"))
        assert replace(decoded, adds=()) == instruction.resolved(VALUES)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def takes_the_cycles_that_are_modelled(dut):
    bench = Bench(dut)
    await bench.start()
    dut.o__ready.value = 1
    program = [random_instruction(n % (ARGUMENT_SLOTS + 1)) for n in range(60)]
    bench.send([instruction.encode() for instruction in program])
    cycle, offered = 0, []
    while len(offered) < len(program):
        await RisingEdge(dut.clk)
        cycle += 1
        if dut.o__valid.value:
            offered.append(cycle)
    for instruction, (before, after) in zip(program[1:], pairwise(offered), strict=True):
        # The last one is taken, the beats come.
        expected = 1 + 64 // W + addition_cycles(instruction, CONFIG)
        assert after - before == expected, str(instruction)


@cocotb.test(timeout_time=2, timeout_unit="ms")
async def what_is_not_wanted_takes_no_cycles(dut):
    bench = Bench(dut)
    await bench.start()
    await bench.set(random_arguments())
    dut.discard.value = 1
    codes = [noise() for _ in range(20)]
    bench.send(codes)
    dut.o__ready.value = 1
    await ClockCycles(dut.clk, 20 * (1 + 64 // W) + 2)
    dut.discard.value = 0
    dut.o__ready.value = 0
    # The next one is as it should be.
    code = random_instruction(8).encode()
    bench.send([code])
    (word,) = await bench.o.receive(1, signed=False)
    assert word.to_bytes(64, "little")[:48] == added(code, VALUES)
