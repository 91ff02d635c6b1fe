"""Memories of an ASIC: large ones become macros, with a behavioural model of each.

Yosys keeps memories as cells of one type. Those that a memory compiler would make, with clocked
reads and enough words, are replaced by instances of black boxes; small ones and those that are
read at once become flip-flops.
"""

from dataclasses import dataclass
from typing import Any

from celosia.errors import ToolError

__all__ = ["MIN_WORDS", "Macro", "extract_macros", "macro_model"]

#: Fewest words of a macro.
MIN_WORDS = 64


@dataclass(frozen=True)
class Macro:
    """One kind of memory.

    Attributes
    ----------
    width, words : int
        Bits of a word, and words.
    reads, writes : int
        Ports.
    transparent : tuple of int
        For each read port, a mask of the write ports whose data it gives in the same cycle.
    """

    width: int
    words: int
    reads: int
    writes: int
    transparent: tuple[int, ...]

    @property
    def name(self) -> str:
        """Name of its module."""
        through = "".join(f"t{mask:x}" for mask in self.transparent if mask)
        return f"ram_{self.words}x{self.width}_{self.reads}r{self.writes}w{through}"

    @property
    def bits(self) -> int:
        """Bits that it holds."""
        return self.width * self.words

    @property
    def address_bits(self) -> int:
        """Width of an address."""
        return max(1, (self.words - 1).bit_length())

    @property
    def ports(self) -> dict[str, tuple[str, int]]:
        """Direction and width of each port; those of several ports lie side by side."""
        return {
            "clk": ("input", 1),
            "rd_addr": ("input", self.reads * self.address_bits),
            "rd_en": ("input", self.reads),
            "rd_data": ("output", self.reads * self.width),
            "wr_addr": ("input", self.writes * self.address_bits),
            "wr_en": ("input", self.writes * self.width),
            "wr_data": ("input", self.writes * self.width),
        }


def extract_macros(netlist: dict[str, Any]) -> dict[Macro, int]:
    """Replace large memories of a netlist of yosys by instances of macros, in place.

    Returns
    -------
    dict of Macro to int
        How many of each kind; the netlist has a black box for each.

    Raises
    ------
    ToolError
        If a memory has several clocks.
    """
    found: dict[Macro, int] = {}
    for module in netlist["modules"].values():
        for cell in module.get("cells", {}).values():
            if cell["type"] == "$mem_v2":
                macro = _replace(cell)
                if macro is not None:
                    found[macro] = found.get(macro, 0) + 1
    for macro in found:
        ports, bit = {}, 2
        for name, (direction, width) in macro.ports.items():
            ports[name] = {"direction": direction, "bits": list(range(bit, bit + width))}
            bit += width
        netlist["modules"][macro.name] = {
            "attributes": {"blackbox": "00000000000000000000000000000001"},
            "ports": ports,
            "cells": {},
            "netnames": {},
        }
    return found


def _number(text: str | int) -> int:
    return text if isinstance(text, int) else int(text.replace("x", "0") or "0", 2)


def _replace(cell: dict[str, Any]) -> Macro | None:
    """Make a cell an instance of its macro, if it is to be one."""
    values, pins = cell["parameters"], cell["connections"]
    width, words = _number(values["WIDTH"]), _number(values["SIZE"])
    reads, writes = _number(values["RD_PORTS"]), _number(values["WR_PORTS"])
    if words < MIN_WORDS or _number(values["RD_CLK_ENABLE"]) != (1 << reads) - 1:
        return None
    clocks = {str(bit) for name in ("RD_CLK", "WR_CLK") for bit in pins[name]}
    if len(clocks) != 1:
        raise ToolError(f"a memory of {words} words has {len(clocks)} clocks; a macro has one")
    mask = _number(values["RD_TRANSPARENCY_MASK"])
    through = tuple(mask >> writes * port & (1 << writes) - 1 for port in range(reads))
    macro = Macro(width, words, reads, writes, through)
    given, wanted = _number(values["ABITS"]), macro.address_bits

    def addresses(name: str, ports: int) -> list[Any]:
        return [
            bit for port in range(ports) for bit in pins[name][port * given : port * given + wanted]
        ]

    cell["type"] = macro.name
    cell["parameters"] = {}
    cell["port_directions"] = {name: direction for name, (direction, _) in macro.ports.items()}
    cell["connections"] = {
        "clk": pins["RD_CLK"][:1],
        "rd_addr": addresses("RD_ADDR", reads),
        "rd_en": pins["RD_EN"],
        "rd_data": pins["RD_DATA"],
        "wr_addr": addresses("WR_ADDR", writes),
        "wr_en": pins["WR_EN"],
        "wr_data": pins["WR_DATA"],
    }
    return macro


def macro_model(macro: Macro) -> str:
    """Return the behavioural model of a macro in Verilog.

    A read in the cycle of a write to the same word gives the old data, or the new one where the
    port is transparent to that write port. All words start at zero.
    """
    ports = ",\n".join(
        f"    {direction}{' reg' if name == 'rd_data' else ''} [{width - 1}:0] {name}"
        for name, (direction, width) in macro.ports.items()
    )
    a, w = macro.address_bits, macro.width
    lines = [f"module {macro.name} (", ports, ");"]
    lines += [f"    reg [{w - 1}:0] words [0:{macro.words - 1}];", "    integer i;"]
    lines += [f"    initial for (i = 0; i < {macro.words}; i = i + 1) words[i] = 0;"]
    lines += ["    always @(posedge clk) begin"]
    for port in range(macro.reads):
        data, at = f"rd_data[{port * w} +: {w}]", f"rd_addr[{port * a} +: {a}]"
        lines.append(f"        if (rd_en[{port}]) begin")
        lines.append(f"            {data} <= words[{at}];")
        for other in range(macro.writes):
            if macro.transparent[port] >> other & 1:
                there = f"wr_addr[{other * a} +: {a}]"
                lines.append(f"            for (i = 0; i < {w}; i = i + 1)")
                lines.append(f"                if (wr_en[{other * w} + i] && {there} == {at})")
                lines.append(
                    f"                    rd_data[{port * w} + i] <= wr_data[{other * w} + i];"
                )
        lines.append("        end")
    for port in range(macro.writes):
        at = f"wr_addr[{port * a} +: {a}]"
        lines.append(f"        for (i = 0; i < {w}; i = i + 1)")
        lines.append(
            f"            if (wr_en[{port * w} + i]) words[{at}][i] <= wr_data[{port * w} + i];"
        )
    return "\n".join([*lines, "    end", "endmodule", ""])
