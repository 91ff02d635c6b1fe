"""What a host sees of a board whose memory is a DDR3: machine, controller and memory on one bus."""

from collections.abc import Sequence

from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from celosia.ddr3 import CONTROL_WINDOW, DESCRIPTION
from celosia.isa import MEMORY_WINDOW
from celosia.rtl.axi import AXI4Lite
from celosia.rtl.bridge_access import WordAccess

__all__ = ["HostPorts", "NativePort", "Wishbone"]

#: AXI response to an access that had no effect.
SUBORDINATE_ERROR = 2


class NativePort(wiring.Signature):
    """LiteDRAM's own port: commands for lines of `line_bytes`, and their data in order."""

    def __init__(self, address_bits: int, line_bytes: int) -> None:
        super().__init__({
            "cmd_valid": Out(1),
            "cmd_ready": In(1),
            "cmd_we": Out(1),
            "cmd_addr": Out(address_bits),
            "wdata_valid": Out(1),
            "wdata_ready": In(1),
            "wdata_we": Out(line_bytes),
            "wdata_data": Out(8 * line_bytes),
            "rdata_valid": In(1),
            "rdata_ready": Out(1),
            "rdata_data": In(8 * line_bytes),
        })


class Wishbone(wiring.Signature):
    """Classic Wishbone with words of 32 bits, which addresses count."""

    def __init__(self) -> None:
        super().__init__({
            "adr": Out(30),
            "dat_w": Out(32),
            "sel": Out(4),
            "cyc": Out(1),
            "stb": Out(1),
            "we": Out(1),
            "ack": In(1),
            "err": In(1),
            "dat_r": In(32),
        })


class HostPorts(wiring.Component):
    """Answers one AXI4-Lite access at a time, from what is at its address.

    From 0 on there is the machine; from `CONTROL_WINDOW` the controller's registers, 64 KB of them;
    from `DESCRIPTION` the description, which cannot be written; from `MEMORY_WINDOW` the memory.
    Writes must be of whole words. An access to the memory before `ready` gets an error response,
    and so does one to where there is nothing.

    Parameters
    ----------
    size_bits : int
        Base-2 logarithm of the memory's bytes, at most 31.
    line_bytes : int
        Bytes that the memory moves at once, a power of two from 8.
    description : sequence of int
        Words that the host finds at `DESCRIPTION`.

    Members
    -------
    bus : In(AXI4Lite())
        Host.
    machine : Out(AXI4Lite())
        The machine's registers.
    control : Out(Wishbone())
        The controller's registers.
    memory : Out(NativePort(...))
        The memory.
    ready : In(1)
        The memory can be used.
    """

    def __init__(self, size_bits: int, line_bytes: int, description: Sequence[int]) -> None:
        self.size_bits = size_bits
        self.line_bits = exact_log2(line_bytes)
        self.description = description
        super().__init__({
            "bus": In(AXI4Lite()),
            "machine": Out(AXI4Lite()),
            "control": Out(Wishbone()),
            "memory": Out(NativePort(size_bits - self.line_bits, line_bytes)),
            "ready": In(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        bus, control, memory = self.bus, self.control, self.memory
        address, word, result = Signal(32), Signal(32), Signal(32)
        write, whole, error = Signal(), Signal(), Signal()
        m.submodules.machine_access = machine = WordAccess()
        connect(m, machine.bus, flipped(self.machine))

        lane = address[2 : self.line_bits]
        lines = data.ArrayLayout(32, len(memory.wdata_data) // 32)
        read_lines = data.View(lines, memory.rdata_data)
        m.d.comb += [
            machine.address.eq(address),
            machine.data.eq(word),
            machine.write.eq(write),
            control.adr.eq(address[2:16]),
            control.dat_w.eq(word),
            control.sel.eq(~0),
            control.we.eq(write),
            control.stb.eq(control.cyc),
            memory.cmd_we.eq(write),
            memory.cmd_addr.eq(address[self.line_bits : self.size_bits]),
            memory.wdata_data.eq(word.replicate(len(memory.wdata_data) // 32)),
            memory.wdata_we.eq(0xF << (lane << 2)),
            memory.rdata_ready.eq(1),
        ]
        m.d.comb += [bus.rdata.eq(result), bus.rresp.eq(error << 1), bus.bresp.eq(error << 1)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    bus.awready.eq(bus.awvalid & bus.wvalid),
                    bus.wready.eq(bus.awvalid & bus.wvalid),
                    bus.arready.eq(~(bus.awvalid & bus.wvalid)),
                ]
                m.d.sync += [
                    write.eq(bus.awready),
                    word.eq(bus.wdata),
                    whole.eq(bus.arready | bus.wstrb.all()),
                    address.eq(bus.araddr),
                    error.eq(0),
                ]
                with m.If(bus.awready):
                    m.d.sync += address.eq(bus.awaddr)
                with m.If(bus.awready | bus.arvalid):
                    m.next = "SELECT"

            with m.State("SELECT"):
                m.next = "REFUSE"
                with m.If(whole):
                    with m.If(address < CONTROL_WINDOW):
                        m.d.comb += machine.start.eq(1)
                        m.next = "MACHINE"
                    with m.Elif(address[16:] == CONTROL_WINDOW >> 16):
                        m.next = "CONTROL"
                    with m.Elif((address[16:] == DESCRIPTION >> 16) & ~write):
                        m.next = "DESCRIPTION"
                    with m.Elif(address[self.size_bits :] == MEMORY_WINDOW >> self.size_bits):
                        with m.If(self.ready):
                            m.next = "COMMAND"
            with m.State("REFUSE"):
                m.d.sync += error.eq(1)
                m.next = "ANSWER"

            with m.State("MACHINE"):
                m.d.sync += [result.eq(machine.result), error.eq(machine.error)]
                with m.If(machine.done):
                    m.next = "ANSWER"
            with m.State("CONTROL"):
                m.d.comb += control.cyc.eq(1)
                m.d.sync += [result.eq(control.dat_r), error.eq(control.err)]
                with m.If(control.ack | control.err):
                    m.next = "ANSWER"
            with m.State("DESCRIPTION"):
                m.next = "REFUSE"
                with m.Switch(address[:16]):
                    for number, value in enumerate(self.description):
                        with m.Case(4 * number):
                            m.d.sync += result.eq(value)
                            m.next = "ANSWER"

            with m.State("COMMAND"):
                # What is to be written must be there before it is asked for.
                m.d.comb += [memory.cmd_valid.eq(1), memory.wdata_valid.eq(write)]
                with m.If(memory.cmd_ready):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += memory.wdata_valid.eq(write)
                m.d.sync += result.eq(read_lines[lane])
                with m.If((write & memory.wdata_ready) | (~write & memory.rdata_valid)):
                    m.next = "ANSWER"

            with m.State("ANSWER"):
                m.d.comb += [bus.bvalid.eq(write), bus.rvalid.eq(~write)]
                with m.If((write & bus.bready) | (~write & bus.rready)):
                    m.next = "IDLE"
        return m
