"""What a run spent on which layer, and how near it came to what the machine can do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from typing import Any

from celosia import isa
from celosia.arguments import resolve
from celosia.compiler.program import Program
from celosia.compiler.rows import touched
from celosia.config import MachineConfig
from celosia.errors import CheckFailed, ProgramError
from celosia.isa import Flag, Instruction, Opcode, Unit
from celosia.runtime.attribution import CAUSES, MAC, Piece, attribute
from celosia.runtime.compare import mac_cycles, products
from celosia.runtime.devices import Run
from celosia.runtime.timeline import ArrayState, Timeline, read_timeline
from celosia.tiles import instruction_tiles

__all__ = ["Layer", "Profile", "layer_names", "make_profile", "memory_bytes"]


@dataclass
class Layer:
    """One layer of the model, or a whole run.

    Attributes
    ----------
    name : str
        What it is.
    cycles : int
        Cycles of the run that belong to it.
    mac_rows : int
        Those in which a row entered the array.
    stalls : dict of str to int
        The others, by cause.
    products : int
        Multiplications that it asks for.
    mac_cycles : float
        Cycles that the array needs for them at least.
    bytes_read, bytes_written : int
        What its instructions move from and to memory.
    bandwidth : float
        Bytes that memory moves in a cycle, at best.
    one_way : bool
        Whether it moves them either way; otherwise as many each way at once.
    """

    name: str
    bandwidth: float
    one_way: bool = False
    cycles: int = 0
    mac_rows: int = 0
    stalls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    products: int = 0
    mac_cycles: float = 0.0
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def utilisation(self) -> float:
        """Share of the array's capacity that it used."""
        return self.mac_cycles / self.cycles if self.cycles else 0.0

    @property
    def intensity(self) -> float | None:
        """Products per byte that takes memory time; None if it moves nothing."""
        return self.products / self._moved if self._moved else None

    @property
    def bound(self) -> str:
        """Which of the two limits it: "array" or "memory"."""
        return "array" if self.mac_cycles >= self._memory_cycles else "memory"

    @property
    def bound_cycles(self) -> float:
        """Cycles in which the machine could do it at best."""
        return max(self.mac_cycles, self._memory_cycles)

    @property
    def _moved(self) -> int:
        """Bytes that take memory time: all, or those of the busier direction."""
        ways = self.bytes_read, self.bytes_written
        return sum(ways) if self.one_way else max(ways)

    @property
    def _memory_cycles(self) -> float:
        return self._moved / self.bandwidth

    @property
    def reached(self) -> float:
        """Share of its bound that it reached; above 1 where it overlaps with other layers."""
        return self.bound_cycles / self.cycles if self.cycles else 0.0

    def record(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            "name": self.name,
            "cycles": self.cycles,
            "mac_rows": self.mac_rows,
            "mac_cycles": self.mac_cycles,
            "utilisation": self.utilisation,
            "stalls": self.stalls,
            "products": self.products,
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "intensity": self.intensity,
            "bound": self.bound,
            "bound_cycles": self.bound_cycles,
            "bound_reached": self.reached,
        }


@dataclass(frozen=True)
class Profile:
    """All of it.

    Attributes
    ----------
    program : Program
        What was run.
    counters : mapping of str to int
        The machine's own counters.
    timeline : Timeline
        What happened when.
    pieces : list of Piece
        Whose each cycle was.
    names : list of str
        The layer of each instruction.
    layers : list of Layer
        In the order of their first instruction.
    total : Layer
        Their sum; bytes are those that the machine counted, instructions included.
    """

    program: Program
    counters: Mapping[str, int]
    timeline: Timeline
    pieces: list[Piece]
    names: list[str]
    layers: list[Layer]
    total: Layer

    def record(self) -> dict[str, Any]:
        """Return the figures as plain values."""
        config = self.program.config
        return {
            "model": self.program.model,
            "config": config.name,
            **self.total.record(),
            "name": "total",
            "peak_products_per_cycle": config.products_per_cycle,
            "peak_bytes_per_cycle": self.total.bandwidth,
            "layers": [layer.record() for layer in self.layers],
            "units": {
                unit.name.lower(): {
                    "instructions": len(self.timeline.units[unit]),
                    "busy": self.counters[f"{unit.name.lower()}_busy"],
                    "wait": self.counters[f"{unit.name.lower()}_wait"],
                }
                for unit in Unit
            },
            "counters": dict(self.counters),
        }


def make_profile(
    program: Program, run: Run, arguments: Sequence[int] = (), *, bandwidth: int = 256
) -> Profile:
    """Make the profile of a run whose events were recorded.

    Parameters
    ----------
    program : Program
        What was run.
    run : Run
        What a simulation gave, with events.
    arguments : sequence of int
        Argument registers of the run.
    bandwidth : int
        Beats that the memory moved in 256 cycles, at most: an SDRAM either way, others each way.

    Raises
    ------
    CheckFailed
        If events and counters contradict each other.
    ProgramError
        If the program does nothing, or its manifest's layers do not fit it.
    """
    if run.events is None:
        raise CheckFailed(f"{program.model}: the run has no events; ask the device for them")
    config = program.config
    code = resolve(isa.disassemble(program.code), arguments)
    names = layer_names(program)
    timeline = read_timeline(run.events, code)
    if not any(timeline.units):
        raise ProgramError(f"{program.model}: the program has no instruction but HALT to profile")
    pieces = attribute(timeline, config)
    bytes_per_cycle = config.memory_width * bandwidth / 256
    memory = bytes_per_cycle, config.memory == "sdram"
    layers = {name: Layer(name, *memory) for name in dict.fromkeys(names)}
    total = Layer("total", *memory)
    for piece in pieces:
        cycles = piece.end - piece.begin
        for layer in (layers[names[piece.span.index]], total):
            layer.cycles += cycles
            if piece.cause == MAC:
                layer.mac_rows += cycles
            else:
                layer.stalls[piece.cause] += cycles
    for name, instruction in zip(names, code, strict=True):
        layer = layers[name]
        layer.products += products(instruction, config)
        layer.mac_cycles = layer.products / config.products_per_cycle
        read, written = memory_bytes(instruction, config)
        layer.bytes_read += read
        layer.bytes_written += written
    total.products = sum(layer.products for layer in layers.values())
    total.mac_cycles = mac_cycles(program, arguments)
    total.bytes_read = run.counters["memory_reads"] * config.memory_width
    total.bytes_written = run.counters["memory_writes"] * config.memory_width
    _check(program, timeline, run.counters)
    return Profile(program, run.counters, timeline, pieces, names, list(layers.values()), total)


def _check(program: Program, timeline: Timeline, counters: Mapping[str, int]) -> None:
    """Compare what events and counters say of the same things."""
    states = dict.fromkeys(ArrayState, 0)
    for begin, end, state in timeline.array:
        states[state] += end - begin
    _, reads, writes = timeline.beats[-1].tolist()
    events = {
        "cycles": timeline.cycles,
        "mac_rows": states[ArrayState.ROW],
        "stall_weights": states[ArrayState.TILE],
        "stall_accumulators": states[ArrayState.BANK],
        "memory_reads": reads,
        "memory_writes": writes,
    }
    for name, value in events.items():
        if value != counters[name]:
            raise CheckFailed(
                f"{program.model}: {name} is {value} by the events, but {counters[name]} by the "
                "machine's counter; the trace is not complete"
            )


def layer_names(program: Program) -> list[str]:
    """Return the layer of each of the program's instructions; without layers, the model's name.

    Raises
    ------
    ProgramError
        If the manifest's layers do not fit the program.
    """
    count = len(isa.disassemble(program.code))
    runs = program.extra.get("layers", [[program.model, count]])
    try:
        names = list(chain.from_iterable(repeat(str(name), int(size)) for name, size in runs))
    except (TypeError, ValueError) as error:
        raise ProgramError(
            f"{program.model}: the manifest's layers must be pairs of a name and a number of "
            f"instructions ({error}); compile it again"
        ) from error
    if len(names) != count:
        raise ProgramError(
            f"{program.model}: the manifest's layers have {len(names)} instructions, but the "
            f"program has {count}; compile it again"
        )
    return names


def memory_bytes(instruction: Instruction, config: MachineConfig) -> tuple[int, int]:
    """Return the bytes that an instruction's operands move from and to memory, in whole beats."""
    if instruction.opcode is Opcode.MATMUL and Flag.WEIGHTS_IN_MEMORY in instruction.flags:
        tiles = instruction_tiles(config, instruction)
        return -(-instruction["n"] // tiles.channels) * tiles.bytes(
            instruction["k_tiles"], instruction["skip"]
        ), 0
    if instruction.opcode not in (Opcode.LOAD, Opcode.STORE):
        return 0, 0
    _, beats = touched(instruction, config)
    moved = instruction["rows"] * len(beats) * config.memory_width
    return (moved, 0) if instruction.opcode is Opcode.LOAD else (0, moved)
