# amaranth: UnusedElaboratable=no
"""The SDRAM controller with a part at its pins, for benches and measurements."""

from amaranth import ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.rtl.axi import AXI4Read, AXI4Write
from celosia.rtl.bursts import MemoryRequest
from celosia.rtl.memory_reader import MemoryReader
from celosia.rtl.on_chip import HostAccess
from celosia.rtl.sdram import SDRAMMemory
from celosia.runtime.sdram_model import model_parameters
from celosia.runtime.sim_device import HARNESS
from celosia.sdram_part import SDRAMPart, SDRAMSettings

__all__ = ["MODEL", "ReaderOnSDRAM", "SDRAMSystem", "attach"]

#: Verilog of the part.
MODEL = HARNESS / "sim_sdram.v"


def attach(
    m: Module,
    pins: wiring.PureInterface,
    part: SDRAMPart,
    frequency: float,
    round_trip: int,
    **outputs,
) -> None:
    """Connect the model of `part` to `pins`; `outputs` are signals for what it counts."""
    names = ("clk_en", "cs", "ras", "cas", "we", "ba", "a", "dqm", "dq_o", "dq_oe")
    m.submodules.part = Instance(
        "sdram_model",
        i_clk=ClockSignal(),
        i_rst=ResetSignal(),
        o_dq_i=pins.dq_i,
        o_doing=Signal(2),
        **{f"p_{name}": v for name, v in model_parameters(part, frequency, round_trip).items()},
        **{f"i_{name}": getattr(pins, name) for name in names},
        **{f"o_{name}": signal for name, signal in outputs.items()},
    )


class SDRAMSystem(wiring.Component):
    """`SDRAMMemory` and its part; `violation`, `words` and `refreshed` are what the part says."""

    def __init__(
        self,
        config: MachineConfig,
        part: SDRAMPart,
        frequency: float,
        settings: SDRAMSettings,
        round_trip: int = 0,
    ) -> None:
        self.config = config
        self.part = part
        self.frequency = frequency
        self.settings = settings
        self.round_trip = round_trip
        super().__init__({
            "read": In(AXI4Read(config)),
            "write": In(AXI4Write(config)),
            "host": In(stream.Signature(HostAccess)),
            "host_data": Out(stream.Signature(32)),
            "violation": Out(8),
            "words": Out(32),
            "refreshed": Out(32),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.memory = memory = SDRAMMemory(
            self.config, self.settings, round_trip=self.round_trip
        )
        for name in ("read", "write", "host"):
            connect(m, flipped(getattr(self, name)), getattr(memory, name))
        connect(m, memory.host_data, flipped(self.host_data))
        attach(
            m,
            memory.pins,
            self.part,
            self.frequency,
            self.round_trip,
            violation=self.violation,
            words=self.words,
            refreshed=self.refreshed,
        )
        return m


class ReaderOnSDRAM(wiring.Component):
    """The machine's `MemoryReader`, with clients as deep as the machine's, on `SDRAMMemory`."""

    #: Beats of the queues for instructions, rows and weights, and what each should have.
    DEPTHS, RESERVES = (16, 128, 256), (16, 0, 128)

    def __init__(self, config: MachineConfig, part: SDRAMPart, frequency: float) -> None:
        self.config = config
        self.part = part
        self.frequency = frequency
        super().__init__({
            "requests": In(stream.Signature(MemoryRequest)).array(3),
            "data": Out(stream.Signature(8 * config.memory_width)).array(3),
            "window_size": In(32),
            "fault": Out(3),
            "violation": Out(8),
            "words": Out(32),
            "refreshed": Out(32),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.reader = reader = MemoryReader(self.config, self.DEPTHS, self.RESERVES)
        m.submodules.memory = memory = SDRAMMemory(self.config, self.part.at(self.frequency))
        connect(m, reader.bus, memory.read)
        for client in range(3):
            connect(m, flipped(self.requests[client]), reader.requests[client])
            connect(m, reader.data[client], flipped(self.data[client]))
        m.d.comb += [reader.window_size.eq(self.window_size), self.fault.eq(reader.fault)]
        attach(
            m,
            memory.pins,
            self.part,
            self.frequency,
            0,
            violation=self.violation,
            words=self.words,
            refreshed=self.refreshed,
        )
        return m
