"""`celosia boards`: what bitstreams can be built for."""

from rich.table import Table

from celosia.cli.common import JsonOption, out, write_record

__all__ = ["boards_command"]


def boards_command(json: JsonOption = None) -> None:
    """List the boards that bitstreams can be built for, and which presets fit each.

    A machine that fits has the multipliers and block RAMs that it needs at least, and all its
    memory on the chip.
    """
    from celosia.cli.synthesize import check_fit
    from celosia.config import PRESETS
    from celosia.errors import ConfigError
    from celosia.platforms.boards import BOARDS

    def fits(name: str, board: type) -> bool:
        try:
            check_fit(PRESETS[name], board)
        except ConfigError:
            return False
        return True

    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("board", "chip", "LUT, FF", "mult", "RAM", "memory", "presets that fit"):
        table.add_column(heading, overflow="fold")
    record = []
    for name, board in BOARDS.items():
        presets = [preset for preset in PRESETS if fits(preset, board)]
        numbers = (f"{n:,}" for n in (board.luts, board.multipliers, board.block_rams))
        chip = f"{board.device}-{board.speed}"
        table.add_row(name, chip, *numbers, board.memory, " ".join(presets) or "none")
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
        })
    out.print(table)
    write_record(json, {"boards": record})
