"""Attention keeps the array busy: cycles of the RTL that one more instruction costs."""

import json

import numpy as np
import pytest
from random_programs import put_program
from test_machine import SQUARE, run

from celosia.isa import Flag, Instruction, Opcode

CONFIG = SQUARE.replace(
    rows=8, columns=8, attention_rows=64, accumulator_rows=512, scratchpad_words=4096
)
QUERIES, TILES, LANES = 64, 8, 8  # a head of 64 elements
PROGRAM, DATA = 0, 0x2000
F = Flag

#: Keys of each attention's runs.
ATTENTIONS = {
    "one block": [[LANES]],
    "blocks": [[6 * LANES]],
    "runs of one block": [[LANES] * 6],
    "runs": [[2 * LANES, 3 * LANES, 1 * LANES]],
}


def image(attentions, count):
    """Program with `count` attentions after what loads their operands."""
    program = [
        Instruction(
            Opcode.LOAD,
            {"address": DATA, "pitch": 128, "rows": rows, "words": words, "base": base,
             "stride": words | 1, "slot": slot},
        )
        for rows, words, base, slot in ((64, 8, 0, 0), (48, 8, 600, 64), (64, 6, 1100, 128))
    ]  # fmt: skip
    for runs in attentions * count:
        first = 0
        for index, keys in enumerate(runs):
            flags = (F.CONTINUE if index else F(0)) | (F.HOLD if index < len(runs) - 1 else F(0))
            operands = {
                "m": QUERIES, "t": keys, "d_tiles": TILES, "v_tiles": TILES, "x_stride": 9,
                "w_base": 600 + 9 * first, "w_stride": 9, "w_slot": 64 + first,
                "v_base": 1100 + first // LANES, "v_stride": 7, "v_slot": 128,
                "y_base": 1600, "y_stride": 8, "y_slot": 192, "multiplier": 20000, "shift": 24,
            }  # fmt: skip
            program.append(Instruction(Opcode.ATTEND, operands, flags))
            first += keys
    memory = np.random.default_rng(1).integers(0, 256, 1 << 15).astype(np.uint8)
    put_program(memory, CONFIG, [*program, Instruction(Opcode.HALT)], most=DATA)
    return memory


@pytest.mark.parametrize("kind", ATTENTIONS)
def test_array_is_busy(kind, tmp_path):
    blocks = sum(sum(runs) for runs in ATTENTIONS[kind]) // LANES
    counts = [12 // blocks, 36 // blocks]
    images = [image(ATTENTIONS[kind], count) for count in counts]
    assert run(CONFIG, images, tmp_path, REPORT=tmp_path / "report.json") == 1
    first, second = json.loads((tmp_path / "report.json").read_text())
    cycles, rows = (second[name] - first[name] for name in ("cycles", "mac_rows"))
    print(f"{kind}: {rows / cycles:.4f} of the cycles, {cycles - rows} lost in {cycles}")
    assert rows / cycles >= 0.99
