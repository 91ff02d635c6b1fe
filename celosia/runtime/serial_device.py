"""A board at the end of a serial line as a device."""

from celosia.compiler.program import Program
from celosia.config import MachineConfig
from celosia.rtl.bridge import WINDOW
from celosia.runtime.devices import Device, window_size
from celosia.runtime.link import SerialLink
from celosia.runtime.link_requests import BLOCK_BYTES
from celosia.runtime.serial_port import open_port
from celosia.runtime.serial_session import Progress, SerialSession

__all__ = ["BAUD", "PATIENCE", "SerialDevice"]

#: Bits per second of the boards' lines.
BAUD = 1_000_000
#: Seconds without an answer after which a frame counts as lost, besides the time that a window of
#: frames takes: what an operating system may need.
PATIENCE = 0.25


class SerialDevice(Device):
    """A machine on a board.

    Parameters
    ----------
    config : MachineConfig
        The machine.
    port : str
        Name of the serial port.
    baud : int
        Bits per second.
    timeout : float, optional
        Seconds without an answer after which a frame counts as lost; by default what suits `baud`.
    retries : int
        How often a frame is sent again.
    progress : callable, optional
        Called while a program is sent.
    max_cycles : int, optional
        Longest run; see `SimDevice`.
    """

    name = "serial"

    def __init__(
        self,
        config: MachineConfig,
        port: str,
        *,
        baud: int = BAUD,
        timeout: float | None = None,
        retries: int = 8,
        progress: Progress | None = None,
        max_cycles: int | None = None,
    ) -> None:
        super().__init__(config)
        self.port = port
        self.baud = baud
        # Ten bits a byte, and some bytes are sent as two.
        self.timeout = timeout or PATIENCE + WINDOW * BLOCK_BYTES * 12 / baud
        self.retries = retries
        self.progress = progress
        self.max_cycles = max_cycles

    def open(self, program: Program) -> SerialSession:
        """Load a program; see `Device.open`.

        Raises
        ------
        DeviceError
            If the port is missing, nobody answers, or the machine there is another one.
        """
        program.check_config(self.config)
        window_size(program)  # whether it fits, before anything is opened
        port = open_port(self.port, self.baud)
        try:
            link = SerialLink(port, timeout=self.timeout, retries=self.retries)
            return SerialSession(program, link, port.close, self.progress, self.max_cycles)
        except BaseException:
            port.close()
            raise
