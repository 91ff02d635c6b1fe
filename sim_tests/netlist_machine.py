# amaranth: UnusedElaboratable=no
"""A whole machine as a netlist, with its serial bridge: self-test and a model through the line."""

from pathlib import Path

from board import DIVISOR, Board, BoardPins, flash_values
from netlists import FAMILIES, Netlist, synthesise
from test_link_noise import netlist_on_line

from celosia.cli.selftest import examine
from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.datasets import digits_heldout
from celosia.compiler.program import Program
from celosia.config import PRESETS, MachineConfig
from celosia.errors import CheckFailed
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import finish, prepare
from celosia.runtime.lockstep import LockstepSession
from celosia.runtime.selftest import selftest_program
from celosia.runtime.serial_device import SerialDevice
from celosia.runtime.serial_session import SerialSession

__all__ = [
    "MACHINES",
    "NetlistBoard",
    "digits",
    "digits_program",
    "machine",
    "selftest",
    "selftest_program",
]

#: The machine of each family: one with an array, or what an iCE40 has room for, with its weights
#: in a flash.
MACHINES = {"ecp5": PRESETS["tiny"], "gowin": PRESETS["tiny"], "ice40": PRESETS["micro"]}
#: Seconds that a board may take to answer, and cycles of a run; one that hangs is stopped.
PATIENCE, LONGEST = 600.0, {"array": 200_000, "micro": 5_000_000}


def machine(family: str) -> Netlist:
    """Make the netlist of a family's machine behind its serial bridge, or find it."""
    return synthesise(BoardPins(MACHINES[family]), FAMILIES[family], flat=True)


class NetlistBoard(Board):
    """A board of which the chip is a netlist; `fault` is the wire that is inverted, if not 0.

    It has `program` in its flash, if there is one.
    """

    def __init__(self, netlist: Netlist, program: Program, folder: Path, *, fault: int = 0) -> None:
        self.netlist = netlist
        self.program = program
        flash = program.image if program.config.memory == "flash" else b""
        super().__init__(program.config, folder, plusargs=[f"+fault={fault}"], flash=flash)

    def _simulation(self, config, folder):
        sources, flash = self.netlist.sources(), flash_values(config)
        return netlist_on_line(sources, DIVISOR, folder, flash=flash)

    def open(self) -> SerialSession:
        """Load the program through the line; what is in the flash is compared."""
        config = self.program.config
        longest = LONGEST[config.engine]
        device = SerialDevice(config, self.port, timeout=PATIENCE, retries=0, max_cycles=longest)
        return device.open(self.program)


def digits_program(config: MachineConfig) -> Program:
    """Compile the digits ViT."""
    return compile_model(load_model("digits_vit"), config)


def selftest(board: NetlistBoard) -> int:
    """Run the self-test through the line; return the bytes compared with the golden machine.

    Raises
    ------
    CheckFailed
        If one differs.
    DeviceError
        If the board does not answer, or not in time.
    """
    with board.open() as session:
        found = examine(board.program.config, session, 1)
    if found["differences"]:
        raise CheckFailed("the netlist differs: " + found["differences"][0])
    return sum(part["compared"] for part in found["parts"].values())


def digits(board: NetlistBoard, count: int) -> tuple[int, int]:
    """Show images to the digits ViT through the line; return how many it names, and bytes compared.

    Raises
    ------
    CheckFailed
        If a byte of output or memory differs from the golden machine's.
    DeviceError
        If the board does not answer, or not in time.
    """
    program = board.program
    images, labels = digits_heldout()
    right = 0
    with board.open() as session:
        both = LockstepSession(program, GoldenDevice(program.config).open(program), session)
        for image, label in zip(images[:count], labels, strict=False):
            both.run(prepare(program, image[None]))
            right += finish(program, both.read).label == str(label)
        found = both.compare_memory()
    if found.mismatches:
        raise CheckFailed(f"the netlist differs: {found.differences[0]}")
    return right, found.bytes_compared
