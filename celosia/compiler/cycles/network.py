"""Processes that hand each other times, and run as far ahead as what they know lets them.

Each part of the machine is a process: a generator that works out when things happen, and appends
the times to streams. It reads the streams of others in order, and yields a stream whose next item
it needs and does not know. As no part looks at what another one does *now*, but only at when its
n-th item came, the order in which processes run does not matter. Only who gets the memory next
depends on the order in time; so the memory's arbiter moves last, when all others are stuck.
"""

from collections.abc import Generator

__all__ = ["Network", "Process", "Times"]


class Times(list[int]):
    """When the items of a stream came, in order; processes can wait for the next one."""

    def __init__(self, network: "Network") -> None:
        super().__init__()
        self.network = network
        self.waiting: list[Process] = []

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


#: Yields the stream that it waits for.
Process = Generator[Times, None, None]


class Network:
    """Processes, each either ready to go on or waiting for a stream."""

    def __init__(self) -> None:
        self.ready: list[Process] = []

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
            stream = next(process, None)
            if stream is not None:
                stream.waiting.append(process)
