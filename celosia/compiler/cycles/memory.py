"""The memory's read channel: requests become bursts, bursts become beats."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from celosia.compiler.cycles.latencies import BURST_BEATS
from celosia.compiler.cycles.network import Network
from celosia.compiler.cycles.read_client import ReadClient
from celosia.config import MachineConfig
from celosia.errors import ConfigError
from celosia.flash_part import ASKING, CYCLES_A_BYTE
from celosia.sdram_part import WORD_BYTES

__all__ = ["MemoryTiming", "ReadChannel"]

#: Cycles from the last beat of a burst on the bus until another one may take its place.
DONE = 2
#: Cycles from a beat on the bus until it does not count as under way; cycles of the measured
#: latency beyond the memory's own, and the longest one that is measured.
COUNTED, MEASURED, LATENCY_LIMIT = 3, 2, 255
#: Cycles of the way through the SDRAM controller, from an address to its READ, the row being open,
#: and from the last word of a beat to the beat on the bus.
TO_READ, TO_BUS = 4, 2
#: With flash: cycles from an address on the bus until the reader knows it, from the last of a beat
#: at the pins to the beat on the bus, and for deselecting besides what the part wants; and the
#: latency of the memory on the chip, which the router makes longer.
TO_FLASH, FROM_FLASH, DESELECTED, ROUTED = 3, 2, 2, 4


@dataclass(frozen=True)
class MemoryTiming:
    """How fast a memory answers.

    Parameters
    ----------
    latency : int
        Cycles from an address to its first beat, and from the last beat written to the answer.
    bytes_per_cycle : float
        What it moves each way; never more than the memory port's width.

    Raises
    ------
    ConfigError
        If one of them is not positive.
    """

    latency: int = 40
    bytes_per_cycle: float = math.inf

    def __post_init__(self) -> None:
        if self.latency < 1:
            raise ConfigError(f"memory: latency must be at least 1 cycle, not {self.latency}")
        if not self.bytes_per_cycle > 0:
            raise ConfigError(
                f"memory: bytes_per_cycle must be positive, not {self.bytes_per_cycle}"
            )

    @classmethod
    def of_sdram(cls, config: MachineConfig) -> "MemoryTiming":
        """Return how fast the SDRAM of a machine answers, bursts lying in rows not yet open.

        It moves a word a cycle but for refreshes. That writing takes words from reading is left
        out.
        """
        part = config.sdram_settings
        burst = config.memory_width // WORD_BYTES
        way = part.rcd + part.cas_latency + config.sdram_round_trip + burst
        upkeep = part.postponed * part.rfc + part.rp + part.rcd + 1
        share = 1 - upkeep / (part.postponed * part.interval)
        return cls(TO_READ + way + TO_BUS, WORD_BYTES * share)

    @classmethod
    def of_flash(cls, config: MachineConfig) -> "MemoryTiming":
        """Return how fast the flash of a machine answers, being asked anew.

        The memory on the chip beside it, and bursts that go on, are known to `ReadChannel`.
        """
        part = config.flash
        asking = DESELECTED + part.cycles(part.deselect) + 2 * (ASKING + part.dummy)
        latency = TO_FLASH + asking + CYCLES_A_BYTE * config.memory_width + FROM_FLASH
        return cls(latency, 1 / CYCLES_A_BYTE)

    def beat_cycles(self, config: MachineConfig) -> float:
        """Cycles from one beat to the next."""
        return max(1.0, config.memory_width / self.bytes_per_cycle)

    def write_latency(self, config: MachineConfig) -> int:
        """Cycles from the last beat of a burst written to the answer."""
        return 1 if config.memory in ("on_chip", "flash") else self.latency


class ReadChannel:
    """The bus to read memory: one burst is issued after the other, and beats come in that order.

    Clients that have less than their reserve go first, and of equal ones the first of `clients`.
    No more beats are under way than the memory takes cycles to answer, and a burst.
    """

    def __init__(
        self,
        network: Network,
        config: MachineConfig,
        timing: MemoryTiming,
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        self.clients = [ReadClient(network, config, *size) for size in sizes]
        self.beats = 0
        self._latency = timing.latency
        self._pace = timing.beat_cycles(config)
        self._on_chip = config.memory == "on_chip"
        # With flash: its first beat, the one behind its last burst, and when it is done with that.
        self._first = config.flash_base // config.memory_width
        self._end = -1
        self._flash = 0.0
        self._slot = 0  # when the last address was on the bus
        self._last = 0  # beats of the last burst
        self._bus = 0.0  # when the next beat can be on the bus
        self._ends: deque[int] = deque([-DONE] * config.outstanding_reads)
        # Beats that may be under way, once the latency has been measured on the first burst.
        self._allowed = min(timing.latency + MEASURED, LATENCY_LIMIT) + BURST_BEATS
        self._known = -1
        # Bursts that may still be under way: beats up to its end, when the last one comes, and
        # cycles from one to the next.
        self._bursts: deque[tuple[int, float, float]] = deque()

    def next_issue(self) -> int | None:
        """When the next burst is issued; None if nobody wants one."""
        ready = [time for client in self.clients if (time := client.ready()) is not None]
        if not ready:
            return None
        time = max(min(ready), self._slot, self._ends[0] + DONE)
        if 0 <= self._known <= time:
            # A burst on its way to the bus does not count yet.
            while self._bursts[0][0] <= self.beats - self._last - self._allowed:
                self._bursts.popleft()
            time = max(time, self._room(self.beats - self._last))
            if time > self._slot:
                time = max(time, self._room(self.beats))
        return time

    def _room(self, beats: int) -> int:
        """When less than the allowed beats of so many are under way."""
        need = beats - self._allowed + 1
        if need <= 0:
            return 0
        total, last, pace = next(burst for burst in self._bursts if burst[0] >= need)
        return math.ceil(last - (total - need) * pace) + COUNTED

    def issue(self, time: int) -> None:
        """Issue a burst."""
        self._ends.popleft()
        wanted = [
            client
            for client in self.clients
            if (ready := client.ready()) is not None and ready <= time
        ]
        first = next((client for client in wanted if client.urgent(time)), wanted[0])
        place = first.place
        beats = first.issue(time)
        address = time + 1
        if self._on_chip:  # it takes the next address with its last beat
            address = max(address, math.ceil(self._bus) - self._latency)
        ready, pace = self._answer(address, place, beats)
        start = max(ready, self._bus)
        self._slot = address
        self._bus = start + beats * pace
        self._ends.append(math.ceil(self._bus - pace))
        if self._known < 0:
            self._known = math.ceil(start) + COUNTED
        self.beats += beats
        self._last = beats
        self._bursts.append((self.beats, self._bus - pace, pace))
        first.arrive(beats, start, pace)

    def _answer(self, address: int, place: int, beats: int) -> tuple[float, float]:
        """Return when a burst's first beat can be there, and cycles from one to the next."""
        if self._first == 0:
            return address + self._latency, self._pace
        if place < self._first:
            return address + ROUTED, 1.0
        ready = max(address + self._latency, self._flash + self._latency - TO_FLASH)
        if place == self._end:  # it goes on
            ready = max(address + TO_FLASH, self._flash) + self._pace + FROM_FLASH
        self._end = place + beats
        self._flash = ready + (beats - 1) * self._pace - FROM_FLASH
        return ready, self._pace
