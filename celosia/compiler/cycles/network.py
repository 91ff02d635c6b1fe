"""Processes that hand each other times, and run as far ahead as what they know lets them.

Each part of the machine is a process: a generator that works out when things happen, and appends
the times to streams. It reads the streams of others in order, and yields a stream whose next item
it needs and does not know. As no part looks at what another one does *now*, but only at when its
n-th item came, the order in which processes run does not matter. Where time itself decides, as
between those who want the memory, all others go on first until they are stuck: what they do not
know yet can only come later than the earliest event that is left.
"""

from collections.abc import Generator
from heapq import heappop, heappush

__all__ = ["Alarm", "Network", "Process", "Times"]


class Times(list[int]):
    """When the items of a stream came, in order; processes can wait for the next one."""

    def __init__(self, network: "Network") -> None:
        super().__init__()
        self.network = network
        self.waiting: list[Process | Alarm] = []

    def add(self, time: int) -> None:
        """Append a time, and let those go on who wait for it."""
        self.append(time)
        if self.waiting:
            self.network.ready += self.waiting
            self.waiting.clear()

    def item(self, index: int) -> Generator["Times", None, int]:
        """Wait for an item; those before the first one are at 0."""
        while index >= len(self):
            yield self
        return self[index] if index >= 0 else 0


class Alarm:
    """Waits for a stream, but only until a time; `rang` says that nothing came until then."""

    def __init__(self, time: int, stream: Times | None = None) -> None:
        self.time = time
        self.stream = stream
        self.rang = False
        self.process: Process | None = None


#: Yields what it waits for.
Process = Generator[Times | Alarm, None, None]


class Network:
    """Processes, each either ready to go on or waiting for something."""

    def __init__(self) -> None:
        self.ready: list[Process | Alarm] = []
        self._alarms: list[tuple[int, int, Alarm]] = []
        self._count = 0

    def times(self) -> Times:
        """Make a stream."""
        return Times(self)

    def add(self, process: Process) -> None:
        """Add a process."""
        self.ready.append(process)

    def settle(self) -> None:
        """Let all processes go on until each waits for something or has ended."""
        ready = self.ready
        while ready:
            process = ready.pop()
            if isinstance(process, Alarm):
                alarm, process = process, process.process
                alarm.process = None
                if process is None:  # it went on before
                    continue
            wait = next(process, None)
            if isinstance(wait, Times):
                wait.waiting.append(process)
            elif wait is not None:
                self._set(wait, process)

    def _set(self, alarm: Alarm, process: Process) -> None:
        alarm.process = process
        if alarm.stream is not None:
            alarm.stream.waiting.append(alarm)
        self._count += 1
        heappush(self._alarms, (alarm.time, self._count, alarm))

    def next_alarm(self) -> int | None:
        """Return the time of the next alarm."""
        while self._alarms and self._alarms[0][2].process is None:
            heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else None

    def ring(self) -> None:
        """Let the next alarm ring."""
        _, _, alarm = heappop(self._alarms)
        alarm.rang = True
        self.ready.append(alarm)
