"""Bench of the memory reader on the SDRAM: how much of the pins' bandwidth a machine gets."""

import json
import os
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

from celosia.config import MachineConfig

CONFIG = MachineConfig(**json.loads(os.environ["CONFIG"]))
W, SIZE = CONFIG.memory_width, int(os.environ["SIZE"])
CYCLES = int(os.environ["CYCLES"])


def request(address: int, beats: int) -> int:
    return address | beats << 32


async def ask(dut, client: int, requests) -> None:
    payload, valid, ready = (
        getattr(dut, f"requests__{client}__{name}") for name in ("payload", "valid", "ready")
    )
    for address, beats, pause in requests:
        if pause:
            valid.value = 0
            await ClockCycles(dut.clk, pause)
        payload.value, valid.value = request(address, beats), 1
        await RisingEdge(dut.clk)
        while not ready.value:
            await RisingEdge(dut.clk)


def tiles():
    """Weights: tile after tile of 16 x 16 bytes, in order."""
    while True:
        for address in range(0, SIZE // 2, 256):
            yield address, 256 // W, 0


def rows():
    """Rows of a tensor, now and then."""
    while True:
        address = random.randrange(SIZE // 2, SIZE - 512, W)
        yield address, 384 // W, 1500


def instructions():
    """The next instruction, now and then."""
    while True:
        for address in range(SIZE // 2, SIZE - 64, 64):
            yield address, 64 // W, 700


@cocotb.test(timeout_time=3, timeout_unit="ms")
@cocotb.parametrize(alone=[True, False])
async def streams_weights(dut, alone):
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    dut.window_size.value = SIZE
    for client in range(3):
        getattr(dut, f"requests__{client}__valid").value = 0
        getattr(dut, f"data__{client}__ready").value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    cocotb.start_soon(ask(dut, 2, tiles()))
    if not alone:
        cocotb.start_soon(ask(dut, 1, rows()))
        cocotb.start_soon(ask(dut, 0, instructions()))
    while dut.words.value.to_unsigned() < 200:
        await RisingEdge(dut.clk)
    before = dut.words.value.to_unsigned()
    await ClockCycles(dut.clk, CYCLES)
    share = (dut.words.value.to_unsigned() - before) / CYCLES
    cocotb.log.warning(f"SHARE {'alone' if alone else 'mixed'} width {W}: {share:.4f}")
    assert dut.violation.value == 0
    assert dut.fault.value == 0
    assert share >= (0.98 if alone else 0.95)
