"""Places for the multipliers of a systolic array, before the placer looks for the rest."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

__all__ = ["MultiplierSites", "place_arrays"]

#: Name that synthesis gives to the multiplier of a processing element.
_ELEMENT = re.compile(r"(?P<array>.*\.)pe_(?P<row>\d+)_(?P<column>\d+)\.multiplier\.cell")


@dataclass(frozen=True)
class MultiplierSites:
    """Where a chip has its multipliers: in lines from side to side, in blocks of four.

    Parameters
    ----------
    lines : sequence of int
        Row of each line.
    blocks : sequence of int
        First column of each block, the same in all lines.
    """

    lines: Sequence[int]
    blocks: Sequence[int]

    #: Columns of a block's multipliers, from its first one, and their numbers in the block.
    _BLOCK = ((0, 0), (1, 1), (4, 4), (5, 5))
    #: Enables that the multipliers of a block can have; a constant is one of them.
    ENABLES = 4

    def line(self, index: int) -> list[str]:
        """Return nextpnr's names of the sites of a line, from left to right."""
        row = self.lines[index]
        return [
            f"X{block + column}/Y{row}/MULT18_{number}"
            for block in self.blocks
            for column, number in self._BLOCK
        ]


def place_arrays(
    netlist: dict[str, Any], sites: MultiplierSites, *, top: str = "top"
) -> dict[str, int]:
    """Fix the multipliers of all arrays in a netlist of yosys, each array in lines of its own.

    The columns of an array are spread over as few lines as hold them, and its rows follow each
    other along a line, or its columns where the enables of blocks want it: then sums flow from
    neighbour to neighbour, and activations within a line and once to the next one. Nothing else is
    fixed. An array that does not fit the lines that are left, or the enables of their blocks, is
    not placed.

    Returns
    -------
    dict
        Multipliers placed of each array, by its path; 0 where it does not fit.
    """
    cells = netlist["modules"][top]["cells"]
    arrays: dict[str, dict[tuple[int, int], dict[str, Any]]] = defaultdict(dict)
    for name, cell in cells.items():
        element = _ELEMENT.fullmatch(name)
        if element and cell["type"] == "MULT18X18D":
            place = int(element["row"]), int(element["column"])
            arrays[element["array"]][place] = cell

    placed, first = dict.fromkeys(arrays, 0), 0
    for array, elements in arrays.items():
        rows, columns = (1 + max(numbers) for numbers in zip(*elements, strict=True))
        columns_in_line = len(sites.line(0)) // rows
        least = -(-columns // columns_in_line) if columns_in_line else len(sites.lines) + 1
        counts = range(least, len(sites.lines) - first + 1)
        for count, by_columns in product(counts, (False, True)):
            lines = _arrange(elements, rows, columns, count, by_columns=by_columns)
            if all(_enables_fit(line) for line in lines):
                for index, line in enumerate(lines, first):
                    for cell, site in zip(line, sites.line(index), strict=False):
                        cell["attributes"]["BEL"] = site
                first += count
                placed[array] = len(elements)
                break
    return placed


def _arrange(
    elements: dict[tuple[int, int], dict[str, Any]],
    rows: int,
    columns: int,
    lines: int,
    *,
    by_columns: bool,
) -> list[list[dict[str, Any]]]:
    """Return the multipliers of each line, from left to right."""
    found = []
    for line in range(lines):
        here = range(-(-line * columns // lines), -(-(line + 1) * columns // lines))
        places = [(row, column) for row in range(rows) for column in here]
        if by_columns:
            places.sort(key=lambda place: place[1])
        found.append([elements[place] for place in places])
    return found


def _enables_fit(line: list[dict[str, Any]]) -> bool:
    """Say whether no block of a line has more enables than it can have.

    The swap of weights reaches elements of one diagonal in the same cycle, and synthesis makes one
    signal of theirs: the squarer the part of the array in a block, the fewer it has.
    """
    size = len(MultiplierSites._BLOCK)
    for start in range(0, len(line), size):
        enables = {
            bit
            for cell in line[start : start + size]
            for port in ("CE0", "CE1", "CE2", "CE3")
            for bit in cell.get("connections", {}).get(port, ())
        }
        if len(enables) > MultiplierSites.ENABLES:
            return False
    return True
