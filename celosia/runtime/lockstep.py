"""Two devices that do everything together, every byte compared as it comes."""

from collections.abc import Sequence

import numpy as np

from celosia import isa
from celosia.compiler.program import Program
from celosia.runtime.compare import SHARED, Comparison, Difference, differences
from celosia.runtime.devices import Run, Session, Writes, window_size

__all__ = ["LockstepSession"]


class LockstepSession(Session):
    """A session on two devices, `golden` being right; what is read comes from the other.

    Parameters
    ----------
    program : Program
        What both have loaded.
    golden, other : Session
        One of each device.

    Attributes
    ----------
    bytes_compared : int
        Bytes of outputs and of what was read so far.
    differences : list of Difference
        Where they differ.
    """

    def __init__(self, program: Program, golden: Session, other: Session) -> None:
        super().__init__(program)
        self.golden, self.other = golden, other
        self.bytes_compared = 0
        self.differences: list[Difference] = []
        self._runs = 0

    def write(self, address: int, data: bytes) -> None:
        """Write bytes into both windows; see `Session.write`."""
        self.golden.write(address, data)
        self.other.write(address, data)

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the window; see `Session.read`."""
        given = self.other.read(address, size)
        self._compare(
            f"memory after run {self._runs}", address, self.golden.read(address, size), given
        )
        return given

    def run(self, writes: Writes = (), arguments: Sequence[int] = ()) -> Run:
        """Run the program once on both; see `Session.run`."""
        right, given = (one.run(writes, arguments) for one in (self.golden, self.other))
        for tensor in self.program.outputs:
            where = f"output {tensor.name} of run {self._runs}"
            self._compare(
                where, tensor.address, *(r.outputs[tensor.address] for r in (right, given))
            )
        for name in SHARED:
            if right.counters[name] != given.counters[name]:
                where = f"counter {name} of run {self._runs}"
                values = right.counters[name], given.counters[name]
                self.differences.append(Difference(where, isa.REGISTERS[name], 1, *values))
        self._runs += 1
        return given

    def close(self) -> None:
        """End both sessions."""
        self.golden.close()
        self.other.close()

    def compare_memory(self) -> Comparison:
        """Compare the whole window; return all that was compared so far."""
        self.read(0, window_size(self.program))
        found = self.differences
        return Comparison(self.bytes_compared, sum(one.bytes for one in found), tuple(found))

    def _compare(self, where: str, address: int, right: bytes, given: bytes) -> None:
        pair = (np.frombuffer(data, np.uint8) for data in (right, given))
        self.bytes_compared += len(right)
        self.differences += differences(where, address, *pair)
