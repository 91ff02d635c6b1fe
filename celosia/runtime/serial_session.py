"""A program on a board at the end of a serial line.

Whatever is in the board's memory already is not sent again: both ends compare checksums of its
blocks first. So a second run of a program is there at once, and a transfer that broke goes on where
it was. A flash is only compared: it is written by the board's loader.
"""

import struct
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from celosia import isa
from celosia.arguments import check_arguments
from celosia.compiler.program import Program
from celosia.errors import CheckFailed, DeviceError, ProgramError
from celosia.isa import COUNTERS, MEMORY_WINDOW, REGISTERS, Status
from celosia.rtl.bridge import Operation
from celosia.runtime.clear_program import clear_image
from celosia.runtime.compare import mac_cycles
from celosia.runtime.ddr3 import wake_ddr3
from celosia.runtime.devices import (
    Run,
    Session,
    Writes,
    check_inputs,
    check_span,
    fault_error,
    output_span,
    window_size,
)
from celosia.runtime.link import SerialLink, Statistics
from celosia.runtime.link_requests import BLOCK_BYTES, Request, writes

__all__ = ["Progress", "SerialSession"]

#: Takes the blocks that are in the board's memory, and how many there will be.
Progress = Callable[[int, int], None]

#: Longest pause between two looks at whether a run has ended, in seconds.
LOOK = 0.05


class SerialSession(Session):
    """A program in the memory of a board.

    Parameters
    ----------
    program : Program
        What is loaded.
    link : SerialLink
        To the board.
    close : callable
        Closes the line.
    progress : callable, optional
        Called while the program is sent.
    max_cycles : int, optional
        Longest run; see `SimDevice`.

    Attributes
    ----------
    blocks_sent, blocks : int
        Blocks of the window that were sent, and how many it has.
    """

    def __init__(
        self,
        program: Program,
        link: SerialLink,
        close: Callable[[], None],
        progress: Progress | None = None,
        max_cycles: int | None = None,
    ) -> None:
        super().__init__(program)
        self.max_cycles = max_cycles
        self._link = link
        self._close = close
        self._runs = 0
        #: What the memory holds, as far as it is known here: what it held when it was last seen.
        self._seen = bytearray()
        self._identify()
        self._clear()
        memory = program.memory(window_size(program)).tobytes()
        self.blocks_sent = self._fill(memory, progress)
        self.blocks = -(-window_size(program) // BLOCK_BYTES)
        self._set({
            "program": program.entry,
            "window_base": 0,
            "window_size": window_size(program),
            **{f"argument{n}": 0 for n in range(isa.ARGUMENTS)},
        })

    @property
    def statistics(self) -> Statistics:
        """What the line had to carry so far."""
        return self._link.statistics

    def write(self, address: int, data: bytes) -> None:
        """Write bytes into the window; see `Session.write`."""
        check_span(self.program, address, len(data), "what is written")
        self._link.write_block(MEMORY_WINDOW + address, data)
        self._seen[address : address + len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the window; see `Session.read`.

        Where there is more than a block, only those come over the line whose CRC-32 is not that of
        what was there before.
        """
        check_span(self.program, address, size, "what is read")
        if size <= BLOCK_BYTES:
            changed = {address: size}
        else:
            digests = self._link.digests(MEMORY_WINDOW + address, size)
            known = _blocks(bytes(self._seen[address : address + size]))
            changed = {
                address + offset: len(block)
                for (offset, block), digest in zip(known, digests, strict=True)
                if zlib.crc32(block) != digest
            }
        reads = [
            Request(Operation.READ, MEMORY_WINDOW + at, count // 4)
            for at, count in changed.items()
            if count
        ]
        for request, data in zip(reads, self._link.exchange(reads), strict=True):
            at = request.address - MEMORY_WINDOW
            self._seen[at : at + len(data)] = data
        return bytes(self._seen[address : address + size])

    def run(self, writes: Writes = (), arguments: Sequence[int] = ()) -> Run:
        """Run the program once; see `Session.run`.

        Raises
        ------
        CheckFailed
            If the machine does not end.
        """
        check_inputs(self.program, [writes])
        values = check_arguments(arguments)
        for address, data in writes:
            self.write(address, data)
        self._set({f"argument{n}": value for n, value in enumerate(values)})
        limit = self.max_cycles or 100 * mac_cycles(self.program, values) + 10_000_000
        self._start(limit)
        self._runs += 1
        outputs = {
            tensor.address: self.read(tensor.address, output_span(self.program, tensor))
            for tensor in self.program.outputs
        }
        return Run(outputs, self._counters())

    def close(self) -> None:
        """End the session; the program stays in the board's memory."""
        with suppress(OSError):
            self._close()

    def _identify(self) -> None:
        """Check that this is the right machine, and that it waits for its host."""
        config = self.program.config
        found = struct.unpack("<4I", self._link.read_block(REGISTERS["id"], 16))
        if found[0] != isa.ID:
            raise DeviceError(
                f"what answers is no machine of Celosia: its id is {found[0]:#010x}, not "
                f"{isa.ID:#010x}; build the bitstream again"
            )
        if found[1] != isa.VERSION:
            raise DeviceError(
                f"the board's instruction set version is {found[1]}, the program's {isa.VERSION}; "
                "build the bitstream again"
            )
        digest = int.from_bytes(config.digest(), "little")
        if found[2] != digest:
            rows, columns = found[3] & 255, found[3] >> 8 & 255
            raise DeviceError(
                f"the board has another machine, {rows}x{columns} with digest {found[2]:08x}, than "
                f"the program is for ({config.name}, {config.rows}x{config.columns}, "
                f"{digest:08x}); compile for that one, or program the board with this one"
            )
        if self._link.read_word(REGISTERS["status"]) & Status.BUSY:
            raise DeviceError(
                "the board's machine is still in a run that another host began; wait for its end, "
                "or reset the board"
            )
        if config.memory == "axi4":
            there = wake_ddr3(self._link)
            if window_size(self.program) > there:
                raise ProgramError(
                    f"{self.program.model}: needs {window_size(self.program)} bytes of memory, but "
                    f"the board has {there}; take a smaller model"
                )

    def _clear(self) -> None:
        """Bring everything but the memory to zeros."""
        image = clear_image(self.program.config)
        self._fill(image)
        self._set({"program": 0, "window_base": 0, "window_size": len(image)})
        self._start(10_000_000)

    def _fill(self, image: bytes, progress: Progress | None = None) -> int:
        """Bring an image into the memory; return the blocks that were sent.

        Raises
        ------
        DeviceError
            If the memory does not keep it, or the flash, which is not written here, has another.
        """
        digests = self._link.digests(MEMORY_WINDOW, len(image))
        pairs = list(zip(_blocks(image), digests, strict=True))
        sent = [one for one, digest in pairs if zlib.crc32(one[1]) != digest]
        fixed = self.program.config.flash_base or len(image)
        if wrong := [at for at, _ in sent if at >= fixed]:
            blocks = sum(at >= fixed for (at, _), _ in pairs)
            raise DeviceError(
                f"{self.program.model}: the board's flash holds something else in {len(wrong)} of "
                f"{blocks} blocks; write the program into it with `celosia program BOARD PROGRAM "
                "--flash`"
            )
        self._seen[: len(image)] = image
        there = len(pairs) - len(sent)
        requests = [request for at, block in sent for request in writes(MEMORY_WINDOW + at, block)]
        total = len(pairs)
        self._link.exchange(requests, progress and (lambda done: progress(there + done, total)))
        checks = [
            Request(Operation.DIGEST, MEMORY_WINDOW + at, len(block) // 4) for at, block in sent
        ]
        for (at, block), digest in zip(sent, self._link.exchange(checks), strict=True):
            if int.from_bytes(digest, "little") != zlib.crc32(block):
                raise DeviceError(
                    f"{self.program.model}: the board's memory does not keep what is written at "
                    f"{at:#x}; check the memory, or lower the machine's clock"
                )
        return len(sent)

    def _set(self, values: dict[str, int]) -> None:
        """Write registers."""
        self._link.exchange([
            Request(Operation.WRITE, REGISTERS[name], 1, struct.pack("<I", value))
            for name, value in values.items()
        ])

    def _start(self, limit: int) -> None:
        """Let the machine run to the end of the program."""
        self._set({"control": 1})
        status = Request(Operation.READ, REGISTERS["status"], 3)
        cycles = Request(Operation.READ, REGISTERS["cycles"], 1)
        begin = time.monotonic()
        while True:
            state, passed = self._link.exchange([status, cycles])
            flags, cause, address = struct.unpack("<3I", state)
            if not flags & Status.BUSY:
                break
            if int.from_bytes(passed, "little") > limit:
                busy = [f"{name} {value:,}" for name, value in self._counters().items() if value]
                raise CheckFailed(
                    f"{self.program.model}: input {self._runs}: the machine did not end within "
                    f"{limit} cycles; reset the board\nits counters: {', '.join(busy)}"
                )
            time.sleep(min(LOOK, (time.monotonic() - begin) / 10))
        if cause:
            raise fault_error(self.program, cause, address, device="serial")

    def _counters(self) -> dict[str, int]:
        data = self._link.read_block(REGISTERS[COUNTERS[0]], 4 * len(COUNTERS))
        return dict(zip(COUNTERS, struct.unpack(f"<{len(COUNTERS)}I", data), strict=True))


def _blocks(data: bytes) -> Iterable[tuple[int, bytes]]:
    """Cut data into blocks; each comes with its offset."""
    return [(at, data[at : at + BLOCK_BYTES]) for at in range(0, len(data), BLOCK_BYTES)]
