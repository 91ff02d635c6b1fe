# amaranth: UnusedElaboratable=no
"""The tile loader alone, and in the machine: tiles follow each other every C cycles."""

import json

import numpy as np
import pytest
from harness import simulate
from random_programs import put_program
from test_machine import SQUARE, run

from celosia.config import PRESETS
from celosia.isa import Flag, Instruction, Opcode, Space
from celosia.rtl.tile_loader import TileLoader


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (8, 4), (2, 8)])
def test_brings_columns_in_time(rows, columns, tmp_path):
    config = PRESETS["tiny"].replace(
        name=f"{rows}x{columns}",
        rows=rows,
        columns=columns,
        attention_rows=4,
        scratchpad_words=64,
        exponent_slots=16,
    )
    dut = TileLoader(config)
    assert simulate(dut, "tb_tile_loader", tmp_path, CONFIG=json.dumps(config.to_dict())) == 6


DATA, PARAMETERS, RESULT = 0x1000, 0x7000, 0x7800
#: Scratchpad words of the tiles and of the result, and words of each row.
TILES, SUMS, WORDS = 64, 500, 40


def image(config, tiles: int, *, in_memory: bool, row: int):
    """One row times `tiles` tiles after each other; `row` is its place in the scratchpad."""
    columns = config.columns
    parameters = {"address": PARAMETERS, "space": Space.PARAMETERS}
    rows = {"address": DATA, "space": Space.ROWS8}
    program = [
        Instruction(Opcode.LOAD, parameters | {"rows": 1, "words": columns}),
        Instruction(Opcode.LOAD, rows | {"rows": 1, "words": WORDS, "base": row, "slot": columns}),
    ]
    product = {"m": 1, "n": columns, "k_tiles": tiles, "x_base": row, "x_slot": columns}
    product |= {"y_base": SUMS, "y_slot": columns + 1}
    if in_memory:
        product["w_address"] = DATA
        flags = Flag.WEIGHTS_IN_MEMORY
    else:
        # All columns of a tile are in one bank, those of the next one in the other.
        flags = Flag(0)
        product |= {"w_base": TILES, "w_stride": WORDS}
        load = {"rows": columns, "words": WORDS, "base": TILES, "stride": WORDS}
        load["pitch"] = WORDS * config.lanes
        program.append(Instruction(Opcode.LOAD, rows | load))
    program.append(Instruction(Opcode.MATMUL, product, flags))
    result = {"address": RESULT, "pitch": config.word_bytes, "rows": 1, "words": 1, "base": SUMS}
    program.append(Instruction(Opcode.STORE, result))
    memory = np.random.default_rng(1).integers(0, 256, 1 << 15).astype(np.uint8)
    put_program(memory, config, [*program, Instruction(Opcode.HALT)], most=DATA)
    entries = memory[PARAMETERS:RESULT].view("<u2").reshape(-1, 4)
    entries[:] = 1 << 14, 21, 0, 0
    return memory


# The rows are in a bank of their own, seen from the columns that are read at the same time.
@pytest.mark.parametrize(
    ("columns", "in_memory", "row"),
    [(4, True, 0), (8, True, 0), (4, False, 1), (8, False, 0)],
    ids=["memory-4", "memory-8", "scratchpad-4", "scratchpad-8"],
)
def test_a_row_takes_c_cycles_a_tile(columns, in_memory, row, tmp_path):
    # The memory is twice as fast as needed, for it makes pauses.
    config = SQUARE.replace(rows=columns, columns=columns, memory_width=2 * columns)
    counts = [12, 36]
    images = [image(config, count, in_memory=in_memory, row=row) for count in counts]
    assert run(config, images, tmp_path, REPORT=tmp_path / "report.json") == 1
    first, second = json.loads((tmp_path / "report.json").read_text())
    tiles = counts[1] - counts[0]
    assert second["mac_rows"] - first["mac_rows"] == tiles
    assert second["cycles"] - first["cycles"] == columns * tiles
