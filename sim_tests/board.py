# amaranth: UnusedElaboratable=no
"""A board in simulation: a machine behind its serial bridge, on a pseudo-terminal."""

import json
import threading
import time

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from test_link_noise import line_simulation

from celosia.rtl.bridge import UARTBridge
from celosia.rtl.flash import FlashPins
from celosia.rtl.machine import machine
from celosia.runtime.flash_model import model_parameters
from celosia.runtime.sim_device import parameter_list
from celosia.runtime.verilator import run_simulation

__all__ = ["Board", "BoardPins", "flash_values"]

DIVISOR = 4


class BoardPins(wiring.Component):
    """A machine, and the bridge to it; with the pins of a flash if it has one."""

    def __init__(self, config):
        self.config = config
        ports = {"rx": In(1, init=1), "tx": Out(1, init=1)}
        if config.memory == "flash":
            ports["flash"] = Out(FlashPins())
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge = bridge = UARTBridge(DIVISOR)
        m.submodules.machine = design = machine(self.config)
        connect(m, bridge.bus, design.s_axi_lite)
        m.d.comb += [bridge.rx.eq(self.rx), self.tx.eq(bridge.tx)]
        if self.config.memory == "flash":
            connect(m, design.flash, flipped(self.flash))
        return m


def flash_values(config) -> str:
    """Return the parameters of the model of a machine's flash, as Verilog; none without one."""
    if config.memory != "flash":
        return ""
    return parameter_list(model_parameters(config.flash, config.flash_offset))


class Board:
    """The simulation in a thread, as long as the context lasts; `port` is its name.

    `flash` is what the machine finds in its flash, if it has one.
    """

    def __init__(self, config, folder, *, plusargs=(), flash=b"", **shares):
        self.folder = folder
        self.plusargs = plusargs
        folder.mkdir()
        if flash:
            (folder / "flash").write_bytes(flash)
            self.plusargs = [*plusargs, "+flash=flash"]
        self.simulation = self._simulation(config, folder)
        self.env = {"DIVISOR": DIVISOR, "FOLDER": folder, "SHARES": json.dumps(shares)}
        self.error = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _simulation(self, config, folder):
        return line_simulation(BoardPins(config), DIVISOR, folder, flash=flash_values(config))

    def _run(self):
        try:
            run_simulation(
                self.simulation,
                "tb_serial_line",
                self.folder,
                env=self.env,
                plusargs=self.plusargs,
            )
        except BaseException as error:
            self.error = error

    def __enter__(self):
        self.thread.start()
        named = self.folder / "port"
        while self.thread.is_alive() and not named.exists():
            time.sleep(0.05)
        if self.error is not None:
            raise self.error
        self.port = named.read_text()
        return self

    def __exit__(self, *_):
        (self.folder / "STOP").touch()
        self.thread.join()
        if self.error is not None:
            raise self.error
        self.record = json.loads((self.folder / "record.json").read_text())

    def pull_cable(self):
        (self.folder / "BREAK").touch()

    def plug_in(self):
        (self.folder / "BREAK").unlink()
