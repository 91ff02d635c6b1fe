"""Puts the signals of a simulation in an order that the compiler can make use of.

Verilator stores the signals of a design as members of a class, those of one instance after those
of another. Sorted by their names without numbers, then by the numbers, the same signal of all
lanes of a unit lies side by side, and g++ finds many lanes that it can compute in one instruction.
What the simulation does cannot depend on it: members are only ever named.

A script of its own, so that a build can run it between Verilator and make.
"""

import re
import sys
from pathlib import Path

__all__ = ["sort_members"]

#: A member that is a number: its type, its bits in a comment, its name.
MEMBER = re.compile(r"\s+(CData|SData|IData|QData|VlWide<\d+>)/\*[\d:]+\*/ (\w+);")
NUMBER = re.compile(r"\d+")


def _key(match: re.Match[str]) -> tuple[str, str, list[int]]:
    kind, name = match.groups()
    return kind, NUMBER.sub("#", name), [int(number) for number in NUMBER.findall(name)]


def sort_members(header: str) -> str:
    """Return the text of a class with its members sorted; all other lines stay where they are."""
    lines = header.split("\n")
    found = {place: match for place, line in enumerate(lines) if (match := MEMBER.fullmatch(line))}
    for place, match in zip(found, sorted(found.values(), key=_key), strict=True):
        lines[place] = match[0]
    return "\n".join(lines)


if __name__ == "__main__":
    root = Path(sys.argv[1]) / "Vtop___024root.h"
    root.write_text(sort_members(root.read_text()))
