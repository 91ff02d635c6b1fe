"""What a machine needs more of than a board has, and which parameters to change to what."""

from collections.abc import Iterator
from typing import Any

from celosia.config import MachineConfig
from celosia.errors import ConfigError
from celosia.platforms.estimate import ERROR, KINDS, Estimate, has_estimates
from celosia.platforms.estimate_micro import micro_resources

__all__ = ["cure", "is_too_small", "shortage"]

#: Parameters that each resource grows with, those first that cost a user least.
_PARAMETERS = {
    "multipliers": ("vector_lanes", "rows", "columns"),
    "luts": ("vector_lanes", "scratchpad_banks", "rows", "columns", "sparsity"),
    "flip_flops": ("vector_lanes", "rows", "columns", "sparsity"),
    "block_rams": (
        *("on_chip_bytes", "scratchpad_words", "accumulator_rows", "scratchpad_banks"),
        *("parameter_entries", "attention_rows", "columns", "rows"),
    ),
}
#: What a machine of 2 x 4 with one vector lane, and its serial line, take at least of an ECP5.
#: Other families take more.
_SMALLEST = {"luts": 22_000, "flip_flops": 16_000}
#: The controller of a DDR3, synthesised, with what makes it as wide as the machine.
_DDR3 = {"luts": 4_500, "flip_flops": 2_280}
#: Bytes of memory on the chip below which a machine is of no use.
_LEAST_MEMORY = 4096


def shortage(config: MachineConfig, board: Any, error: float = ERROR) -> dict[str, int]:
    """Return what a machine needs at least of each resource that a board has too little of.

    LUTs and flip-flops may have been estimated too high by `error`, but are no less than those of
    the smallest machine. Of boards without estimates only these two are known.
    """
    if config.engine == "micro":
        return {
            name: count
            for name, count in micro_resources(board).items()
            if count > getattr(board, name)
        }
    needed = Estimate(config).resources()
    for kind in KINDS:
        needed[kind] += _DDR3[kind] if config.memory == "axi4" else 0
        needed[kind] = max(round((1 - error) * needed[kind]), _SMALLEST[kind])
    names = _PARAMETERS if has_estimates(board) else KINDS
    return {name: needed[name] for name in names if needed[name] > getattr(board, name)}


def is_too_small(board: Any) -> bool:
    """Return whether a board's chip has no room for any machine with an array."""
    return any(count > getattr(board, kind) for kind, count in _SMALLEST.items())


def cure(config: MachineConfig, board: Any) -> dict[str, int]:
    """Return parameters and values that make a machine fit an ECP5; empty if none are found.

    One parameter if that can do it; otherwise several, for one resource after the other. Of
    several ways it is the one by the smallest factor. What one parameter cannot do begins with
    half of the one that does most.
    """
    changes: dict[str, int] = {}
    while missing := shortage(config, board, 0):
        resource = next(iter(missing))
        options = []
        for name in _PARAMETERS[resource]:
            for index, (value, machine) in enumerate(_smaller(config, name)):
                left = shortage(machine, board, 0)
                enough = resource not in left
                if enough or index == 0:
                    factor = getattr(config, name) / value
                    rank = (bool(left), factor) if enough else (2, left[resource])
                    options.append((rank, name, value, machine))
        if not options:
            return {}
        _, name, value, config = min(options, key=lambda option: option[0])
        changes[name] = value
    return changes


def _smaller(config: MachineConfig, name: str) -> Iterator[tuple[int, MachineConfig]]:
    """Yield smaller values of a parameter, and the machine with each, that are valid."""
    value = getattr(config, name)
    least = _LEAST_MEMORY if name == "on_chip_bytes" else 1
    while value // 2 >= least:
        value = 1 if name == "sparsity" else value // 2
        try:
            yield value, config.replace(**{name: value})
        except ConfigError:
            continue
