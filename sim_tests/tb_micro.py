"""Bench of the microprogrammed machine: the host reads beside a run, and disturbs nothing."""

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from tb_machine import ARGUMENTS, CONFIG, IMAGES, Host

from celosia.golden.machine import GoldenMachine
from celosia.isa import MEMORY_WINDOW, REGISTERS, Status

#: Bytes that no program writes, and reads of them.
FIXED, LOOKS = 0x4000, 300
#: Counters that stay 0.
UNUSED = ("load_wait", "matrix_wait", "stall_weights", "stall_rows", "stall_accumulators")


@cocotb.test(timeout_time=200, timeout_unit="ms")
async def reads_beside_a_run(dut):
    Clock(dut.clk, 10, unit="ns").start()
    host = Host(dut, 0.0)
    dut.rst.value = 1
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    memory = IMAGES[0].copy()
    # Answered as soon as all memory has been cleared.
    assert (await host.registers.read(MEMORY_WINDOW, 64)).data == bytes(64)
    await host.fill(memory.tobytes())
    # What is written beyond the end is lost.
    await host.registers.write(MEMORY_WINDOW + CONFIG.on_chip_bytes, b"lost")
    await host.write("window_size", len(memory))
    for register, value in enumerate(ARGUMENTS[0]):
        await host.write(f"argument{register}", value)
    result = GoldenMachine(CONFIG, memory).run(arguments=ARGUMENTS[0])

    await host.write("control", 1)
    counted, timed, looks = [], [], 0
    while await host.read("status") & Status.BUSY:
        counted.append(await host.read("instructions"))
        timed.append(await host.read("cycles"))
        assert await host.read(UNUSED[looks % len(UNUSED)]) == 0
        offset = FIXED + 4 * (looks % 256)
        read = await host.registers.read(MEMORY_WINDOW + offset, 4)
        assert read.data == IMAGES[0][offset : offset + 4].tobytes()
        written = await host.registers.write(REGISTERS["program"], bytes(4))
        if await host.read("status") & Status.BUSY:
            assert written.resp != 0  # not while it runs
        looks += 1
        await ClockCycles(dut.clk, looks % 41)
    assert looks > LOOKS and counted == sorted(counted)
    assert timed == sorted(timed) and timed[0] < timed[-1] <= await host.read("cycles")
    assert counted[0] < counted[-1] <= result.instructions
    assert await host.read("status") == Status.DONE
    got = np.frombuffer(await host.dump(len(memory)), np.uint8)
    np.testing.assert_array_equal(got, memory)
    for name in ("instructions", "mac_rows", "saturations"):
        assert await host.read(name) == getattr(result, name)
    assert 0 < await host.read("memory_writes") < await host.read("memory_reads")
