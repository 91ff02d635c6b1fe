"""Lattice ECP5: cells that synthesis does not infer as they should be."""

from typing import Any

from amaranth import ClockSignal, Const, Instance, Module, Signal, Value

from celosia.cores.folded_adder import FoldedAdder
from celosia.cores.multiplexer import Multiplexer
from celosia.cores.multiply import Multiplier

__all__ = ["HIDE_ELEMENTS", "REMOVE_COLLISION_LOGIC", "ECP5Cells", "release_carries"]

#: Yosys command that keeps block RAM free of read-during-write logic (some 76 flip-flops and 55
#: LUTs per memory); pass it as `script_after_read`. It tells yosys that a word read in the cycle in
#: which it is written may have any value. This is safe only in a design in which no read port is
#: enabled at the address that a write port of the same memory writes in that cycle, or in which
#: such a word is never used; prove it. Touched are synchronous read ports of memories with one
#: write port that are not transparent: the others keep their logic.
REMOVE_COLLISION_LOGIC = (
    "setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i r:TRANSPARENCY_MASK=1'0 %i"
)

#: Yosys commands that hide the names of elements of arrays, `row[0]` and so on, for `read_rtlil`
#: of a design with the top module `top`. Technology mapping calls bit 0 of `row` the same, and then
#: connects the one for the other, or stops at an assertion.
HIDE_ELEMENTS = "hierarchy -top top\nproc\nflatten\nrename -hide w:*[[]*"

_OPERAND_WIDTH = 18
#: Tables of a carry cell: the carry out is A; the carry out is the carry in.
_GENERATE, _PROPAGATE = 0x000A, 0xFFFF
#: Table of a LUT that is B if C is set, otherwise A.
_CHOOSE = 0xCACA


def release_carries(module: dict[str, Any]) -> None:
    """Disconnect carries that do not count, in a module of a netlist that yosys wrote as JSON.

    They are those that nobody reads, and constants that are led into a chain; for each of them
    nextpnr would take a carry cell more, at an end of the chain. The first bit of a chain makes its
    carry of its operands alone if it knows what comes in; its sum, if it is read, needs a LUT then.
    """
    cells = module["cells"]
    chains = {name: cell for name, cell in cells.items() if cell["type"] == "CCU2C"}
    read = {
        bit
        for cell in cells.values()
        for port, bits in cell["connections"].items()
        if cell["port_directions"][port] == "input"
        for bit in bits
    }
    read |= {bit for port in module["ports"].values() for bit in port["bits"]}
    for name, cell in chains.items():
        wires = cell["connections"]
        if not read.intersection(wires.get("COUT", ())):
            wires["COUT"] = ["x"]
        table = int(cell["parameters"]["INIT0"], 2)
        selects = [*wires["D0"], *wires["C0"]]
        if table == _GENERATE and wires["CIN"] == ["0"]:
            wires["CIN"] = ["x"]
        if not {*wires["CIN"], *selects} <= {"0", "1"} or selects == ["0", "0"]:
            continue
        carry = int(wires["CIN"][0])
        rows = 4 * int("".join(map(str, selects)), 2)  # of the table, from here on: for A and B
        # Where the table is 1 the carry passes, elsewhere its first rows are the carry out.
        head = sum(
            (carry if table >> rows + index & 1 else table >> index & 1) << index
            for index in range(4)
        )
        total = wires.pop("S0", [])
        if read.intersection(total):
            cells[f"{name}_S0"] = {
                "hide_name": 1,
                "type": "LUT4",
                "parameters": {"INIT": f"{table ^ (carry * 0xFFFF):016b}"},
                "attributes": {},
                "port_directions": {**dict.fromkeys("ABCD", "input"), "Z": "output"},
                "connections": {**{pin: wires[f"{pin}0"] for pin in "ABCD"}, "Z": total},
            }
        cell["port_directions"].pop("S0", None)
        cell["parameters"]["INIT0"] = f"{head:016b}"
        wires["CIN"] = ["x"]


class ECP5Cells:
    """Platform hooks that build components from ECP5 cells.

    Usable alone as the platform of an out-of-context conversion, and as a mix-in of a board:
    `class Board(ECP5Cells, ULX3S_85F_Platform)`.
    """

    def get_multiplier(self, multiplier: Multiplier) -> Module:
        """Build `multiplier` from one MULT18X18D, with all its registers inside.

        The operands lie in the upper bits and zeros below them, so that no sign has to be
        routed to many pins; the product then lies in the upper bits too.

        Raises
        ------
        ValueError
            If an operand is wider than 18 bits.
        """
        widths = {"a_width": multiplier.a_width, "b_width": multiplier.b_width}
        for name, width in widths.items():
            if width > _OPERAND_WIDTH:
                raise ValueError(
                    f"ECP5 multiplier {name} must be at most {_OPERAND_WIDTH}, not {width}"
                )

        # CE1 is for the operand that can be held; the rest always runs.
        parameters = {
            "p_REG_INPUTA_CLK": "CLK0",
            "p_REG_INPUTA_CE": "CE0",
            "p_REG_INPUTB_CLK": "CLK0",
            "p_REG_INPUTB_CE": "CE1",
            "p_REG_PIPELINE_CLK": "CLK0",
            "p_REG_PIPELINE_CE": "CE0",
            "p_REG_OUTPUT_CLK": "CLK0",
            "p_REG_OUTPUT_CE": "CE0",
            "p_GSR": "DISABLED",
            "p_RESETMODE": "SYNC",
        }
        inputs = {
            "i_CLK0": ClockSignal(),
            "i_CE0": 1,
            "i_CE1": multiplier.b_enable,
            "i_RST0": 0,
            "i_SIGNEDA": 1,
            "i_SIGNEDB": 1,
            "i_SOURCEA": 0,
            "i_SOURCEB": 0,
        }
        for port, operand in (("A", multiplier.a), ("B", multiplier.b)):
            unused = _OPERAND_WIDTH - len(operand)
            for index in range(_OPERAND_WIDTH):
                bit = operand[index - unused] if index >= unused else 0
                inputs[f"i_{port}{index}"] = bit
        # The shift inputs SRIA and SRIB stay open: tied to 0 they cannot be routed.
        unused = 2 * _OPERAND_WIDTH - len(multiplier.product)
        outputs = {f"o_P{unused + index}": bit for index, bit in enumerate(multiplier.product)}

        m = Module()
        m.submodules.cell = Instance("MULT18X18D", **parameters, **inputs, **outputs)
        return m

    def get_folded_adder(self, adder: FoldedAdder) -> Module:
        """Build `adder` from CCU2C, two bits in each, with all its logic in their tables.

        The first half of a cell makes the carry into the chain, also if it is 0: the chain's own
        input cannot be reached from the fabric, and the placer would take a whole cell for it.
        """
        # Of each half: inputs A to D, table, sum. An unused half passes the carry on.
        carry = adder.carry if adder.has_carry else Const(0)
        halves: list[tuple[tuple[Any, ...], int, dict[str, Any]]] = []
        halves.append(((carry, 1, 1, 1), _GENERATE, {}))
        bits = zip(adder.a, adder.b, adder.c, adder.d, adder.sum, strict=True)
        halves += [((a, b, c, d), adder.table, {"o_S{}": s}) for a, b, c, d, s in bits]
        if len(halves) % 2:
            halves.append(((1, 1, 1, 1), _PROPAGATE, {}))

        m = Module()
        for cell, pair in enumerate(zip(halves[::2], halves[1::2], strict=True)):
            ports = {"i_CIN": carry} if cell > 0 else {}
            for half, (inputs, table, outputs) in enumerate(pair):
                ports |= {f"i_{pin}{half}": bit for pin, bit in zip("ABCD", inputs, strict=True)}
                ports |= {f"p_INIT{half}": Const(table, 16), f"p_INJECT1_{half}": "NO"}
                ports |= {name.format(half): bit for name, bit in outputs.items()}
            carry = Signal(name=f"carry_{cell}")
            if 2 * cell + 2 < len(halves):  # nobody reads the last carry
                ports["o_COUT"] = carry
            m.submodules[f"cell_{cell}"] = Instance("CCU2C", **ports)
        return m

    def get_multiplexer(self, multiplexer: Multiplexer) -> Module:
        """Build `multiplexer` from one LUT4 for each two bits and the multiplexers between LUTs.

        Synthesis knows these only as parts of wider tables, and takes twice as many LUTs.
        """
        m = Module()
        level = [list(multiplexer.i[word]) for word in range(multiplexer.count)]
        for depth, index in enumerate(multiplexer.index):
            pairs = list(zip(level[::2], level[1::2], strict=True))
            last = len(pairs) == 1
            outputs = [multiplexer.o] if last else [Signal(multiplexer.width) for _ in pairs]
            for choice, ((even, odd), output) in enumerate(zip(pairs, outputs, strict=True)):
                for bit, (a, b, z) in enumerate(zip(even, odd, output, strict=True)):
                    m.submodules[f"cell_{depth}_{choice}_{bit}"] = _chooser(depth, a, b, index, z)
            level = [list(output) for output in outputs]
        return m


def _chooser(depth: int, a: Value, b: Value, index: Value, z: Value) -> Instance:
    """One bit of a level of a multiplexer, counted from its inputs: `b` if `index`, else `a`."""
    match depth:
        case 0:
            ports = {"i_A": a, "i_B": b, "i_C": index, "i_D": 0}
            return Instance("LUT4", p_INIT=Const(_CHOOSE, 16), **ports, o_Z=z)
        case 1:
            return Instance("PFUMX", i_ALUT=b, i_BLUT=a, i_C0=index, o_Z=z)
        case _:
            return Instance("L6MUX21", i_D0=a, i_D1=b, i_SD=index, o_Z=z)
