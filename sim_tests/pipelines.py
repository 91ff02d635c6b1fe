"""Benches of datapaths that never stall: inputs with random gaps, results at their exact cycle."""

import random
from collections.abc import Callable, Iterable

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge

__all__ = ["Pipe", "noise", "packed", "reset"]


def packed(values: Iterable[int], width: int) -> int:
    """Pack fields into a word, the first one least significant."""
    mask = (1 << width) - 1
    return sum((int(value) & mask) << (width * index) for index, value in enumerate(values))


def noise(handles: Iterable) -> None:
    """Drive random bits."""
    for handle in handles:
        handle.value = random.getrandbits(len(handle))


async def reset(dut, valids: Iterable, cycles: int) -> None:
    """Start the clock and reset for long enough to empty the pipeline of the test before."""
    Clock(dut.clk, 10, unit="ns").start()
    for valid in valids:
        valid.value = 0
    dut.rst.value = 1
    await ClockCycles(dut.clk, cycles + 2)
    dut.rst.value = 0


class Pipe:
    """Inputs `i__*` and outputs `o__*` of a datapath with a plain `valid` and a fixed latency.

    While the input is not valid, all its fields show noise.
    """

    def __init__(self, dut, inputs: Iterable[str], outputs: Iterable[str], latency: int) -> None:
        self.dut = dut
        self.valid = dut.i__valid
        self.inputs = {name: getattr(dut, f"i__{name}") for name in inputs}
        self.outputs = {name: getattr(dut, f"o__{name}") for name in outputs}
        self.latency = latency
        self.taken: list[int] = []
        self.given: list[tuple[int, dict[str, int]]] = []

    def present(self, fields: dict[str, int] | None) -> None:
        """Drive one row, or a gap."""
        self.valid.value = fields is not None
        if fields is None:
            noise(self.inputs.values())
            return
        assert fields.keys() == self.inputs.keys()
        for name, value in fields.items():
            self.inputs[name].value = value

    async def watch(self) -> None:
        """Note in which cycle each row went in and each result came out."""
        cycle = 0
        while True:
            await RisingEdge(self.dut.clk)
            if self.valid.value:
                self.taken.append(cycle)
            if self.dut.o__valid.value:
                fields = {name: int(handle.value) for name, handle in self.outputs.items()}
                self.given.append((cycle, fields))
            cycle += 1

    async def run(
        self,
        rows: Iterable[tuple[dict[str, int], dict[str, int]]],
        *,
        gap: float = 0.0,
        background: Callable[[], None] = lambda: None,
    ) -> None:
        """Present (inputs, expected outputs) and check every result and its cycle.

        `rows` is drawn from in the cycle in which a row is presented; `background` is called once
        per cycle, after that.
        """
        watcher = cocotb.start_soon(self.watch())
        expected = []
        source = iter(rows)
        done = False
        while not done:
            row = None
            if random.random() >= gap:
                row = next(source, None)
                done = row is None
            self.present(None if row is None else row[0])
            if row is not None:
                expected.append(row[1])
            background()
            await RisingEdge(self.dut.clk)
        self.present(None)
        await ClockCycles(self.dut.clk, self.latency + 4)
        watcher.cancel()

        assert len(self.taken) == len(expected)
        assert [cycle for cycle, _ in self.given] == [cycle + self.latency for cycle in self.taken]
        wrong = [n for n, (_, fields) in enumerate(self.given) if fields != expected[n]]
        assert not wrong, (
            f"rows {wrong[:8]} of {len(expected)} are wrong; the first is "
            f"{self.given[wrong[0]][1]}, not {expected[wrong[0]]}"
        )
