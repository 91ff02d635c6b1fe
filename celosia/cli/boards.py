"""`celosia boards`: what bitstreams can be built for."""

from typing import Any

from rich.table import Table

from celosia.cli.common import JsonOption, out, write_record

__all__ = ["boards_command"]


def boards_command(json: JsonOption = None) -> None:
    """List the boards that bitstreams can be built for, and which presets fit each.

    A machine that fits has room for what it needs at least, and its memory on the chip or on the
    board. Where none does, the array alone still may (`synthesize --core systolic`).
    """
    from celosia.config import PRESETS
    from celosia.platforms.boards import BOARDS
    from celosia.platforms.cures import shortage
    from celosia.platforms.fit import presets_for, resource_name

    def reason(board: Any) -> str:
        """Say of what the smallest preset needs too much."""
        resource, needed = next(iter(shortage(PRESETS["mini"], board).items()))
        return f"needs {needed:,} {resource_name(resource)}, has {getattr(board, resource):,}"

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("board", "chip", "LUT, FF", "mult", "RAM", "memory", "presets that fit"):
        table.add_column(heading, overflow="fold")
    record = []
    for name, board in BOARDS.items():
        presets = [preset.name for preset in presets_for(board)]
        why = None if presets else reason(board)
        numbers = (f"{n:,}" for n in (board.luts, board.multipliers, board.block_rams))
        chip = f"{board.device}-{board.speed}"
        table.add_row(
            name, chip, *numbers, board.memory, f"none: {why}" if why else " ".join(presets)
        )
        record.append({
            "name": name,
            "chip": board.device,
            "speed": board.speed,
            "luts": board.luts,
            "flip_flops": board.flip_flops,
            "multipliers": board.multipliers,
            "block_rams": board.block_rams,
            "reference_mhz": board.reference,
            "memory": board.memory,
            "host": board.host,
            "baud": board.baud,
            "presets": presets,
            "no_preset_fits": why and f"no preset fits: {why}",
        })
    out.print(table)
    write_record(json, {"boards": record})
