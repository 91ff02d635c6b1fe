"""Places for the multipliers of a systolic array, before the placer looks for the rest."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
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

    def line(self, index: int) -> list[str]:
        """Return nextpnr's names of the sites of a line, from left to right."""
        row = self.lines[index]
        return [
            f"X{block + column}/Y{row}/MULT18_{number}"
            for block in self.blocks
            for column, number in self._BLOCK
        ]


def place_arrays(netlist: dict[str, Any], sites: MultiplierSites, *, top: str = "top") -> int:
    """Fix the multipliers of all arrays in a netlist of yosys, each array in lines of its own.

    The columns of an array are spread over as few lines as hold them, and its rows follow each
    other along a line: then sums flow from neighbour to neighbour, and activations within a
    line and once to the next one. Nothing else is fixed. An array that does not fit the lines
    that are left is not placed.

    Returns
    -------
    int
        Multipliers placed.
    """
    cells = netlist["modules"][top]["cells"]
    arrays: dict[str, dict[tuple[int, int], dict[str, Any]]] = defaultdict(dict)
    for name, cell in cells.items():
        element = _ELEMENT.fullmatch(name)
        if element and cell["type"] == "MULT18X18D":
            place = int(element["row"]), int(element["column"])
            arrays[element["array"]][place] = cell

    placed, first = 0, 0
    for elements in arrays.values():
        rows, columns = (1 + max(numbers) for numbers in zip(*elements, strict=True))
        columns_in_line = len(sites.line(0)) // rows
        if columns_in_line * (len(sites.lines) - first) < columns:
            continue
        lines = -(-columns // columns_in_line)
        for line in range(lines):
            here = range(-(-line * columns // lines), -(-(line + 1) * columns // lines))
            free = iter(sites.line(first + line))
            for row in range(rows):
                for column in here:
                    elements[row, column]["attributes"]["BEL"] = next(free)
        first += lines
        placed += len(elements)
    return placed
