# amaranth: UnusedElaboratable=no
"""A whole machine as a netlist, with its serial bridge: self-test and a model through the line."""

from pathlib import Path

from board import DIVISOR, Board, BoardPins
from netlists import FAMILIES, Netlist, synthesise
from test_link_noise import netlist_on_line

from celosia.cli.selftest import examine
from celosia.compiler import compile_model
from celosia.compiler.checkpoint import load_model
from celosia.compiler.datasets import digits_heldout
from celosia.compiler.program import Program
from celosia.config import PRESETS
from celosia.errors import CheckFailed
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import finish, prepare
from celosia.runtime.lockstep import LockstepSession
from celosia.runtime.selftest import selftest_program
from celosia.runtime.serial_device import SerialDevice
from celosia.runtime.serial_session import SerialSession

__all__ = ["CONFIG", "NetlistBoard", "digits", "machine", "selftest"]

#: The machine: the smallest preset, with room for the digits ViT.
CONFIG = PRESETS["tiny"]
#: Seconds that a board may take to answer, and cycles of a run; one that hangs is stopped.
PATIENCE, LONGEST = 600.0, 200_000


def machine(family: str) -> Netlist:
    """Make the netlist of the machine behind its serial bridge, or find it."""
    return synthesise(BoardPins(CONFIG), FAMILIES[family], flat=True)


class NetlistBoard(Board):
    """A board of which the chip is a netlist; `fault` is the wire that is inverted, if not 0."""

    def __init__(self, netlist: Netlist, folder: Path, *, fault: int = 0) -> None:
        self.netlist = netlist
        super().__init__(CONFIG, folder, plusargs=[f"+fault={fault}"])

    def _simulation(self, config, folder):
        return netlist_on_line(self.netlist.sources(), DIVISOR, folder, optimise=1)

    def open(self, program: Program) -> SerialSession:
        """Load a program through the line."""
        device = SerialDevice(CONFIG, self.port, timeout=PATIENCE, retries=0, max_cycles=LONGEST)
        return device.open(program)


def selftest(board: NetlistBoard) -> int:
    """Run the self-test through the line; return the bytes compared with the golden machine.

    Raises
    ------
    CheckFailed
        If one differs.
    DeviceError
        If the board does not answer, or not in time.
    """
    with board.open(selftest_program(CONFIG)) as session:
        found = examine(CONFIG, session, 1)
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
    program = compile_model(load_model("digits_vit"), CONFIG)
    images, labels = digits_heldout()
    right = 0
    with board.open(program) as session:
        both = LockstepSession(program, GoldenDevice(CONFIG).open(program), session)
        for image, label in zip(images[:count], labels, strict=False):
            both.run(prepare(program, image[None]))
            right += finish(program, both.read).label == str(label)
        found = both.compare_memory()
    if found.mismatches:
        raise CheckFailed(f"the netlist differs: {found.differences[0]}")
    return right, found.bytes_compared
