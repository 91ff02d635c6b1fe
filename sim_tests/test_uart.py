# amaranth: UnusedElaboratable=no
"""Serial line: behaviour in simulation, the receiver's stream rule in the solver, its divisors."""

import re

import pytest
from amaranth import Elaboratable, Module
from amaranth.asserts import AnySeq
from amaranth.hdl import Assert, Cover
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from contracts import holds
from harness import prove, simulate

from celosia.rtl.uart import UARTReceiver, UARTTransmitter, baud_divisor


class Line(wiring.Component):
    """Both directions."""

    def __init__(self, divisor):
        self.divisor = divisor
        super().__init__({
            "rx": In(1, init=1),
            "o": Out(stream.Signature(8)),
            "i": In(stream.Signature(8)),
            "tx": Out(1, init=1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = UARTReceiver(self.divisor)
        m.submodules.transmitter = transmitter = UARTTransmitter(self.divisor)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx)]
        connect(m, receiver.o, flipped(self.o))
        connect(m, flipped(self.i), transmitter.i)
        return m


class ReceiverRules(Elaboratable):
    """Whatever is on the line, a byte that is offered stays until it is taken."""

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = UARTReceiver(4)
        m.d.comb += [dut.rx.eq(AnySeq(1)), dut.o.ready.eq(AnySeq(1))]
        holds(m, dut.o, Assert, name="o")
        m.d.comb += Cover(dut.o.valid & (dut.o.payload == 0xA5))
        return m


@pytest.mark.parametrize("divisor", [4, 7, 13])
def test_line(divisor, tmp_path):
    simulate(Line(divisor), "tb_uart", tmp_path, DIVISOR=divisor)


@pytest.mark.parametrize(("mode", "depth"), [("prove", 4), ("cover", 48)])
def test_receiver_keeps_its_bytes(mode, depth, tmp_path):
    prove(ReceiverRules(), tmp_path, mode=mode, depth=depth)


def test_divisor_of_a_baud_rate():
    assert baud_divisor(25e6, 1e6) == 25
    assert baud_divisor(25e6, 115200) == 217
    assert baud_divisor(50e6, 3e6) == 17


@pytest.mark.parametrize(
    ("clock", "baud", "message"),
    [
        (10e6, 3e6, "baud rate must be at most a clock of 10000000 Hz / 4, not 3000000"),
        (
            16e6,
            3e6,
            "baud rate 3000000 is 6.7% off at a clock of 16000000 Hz, more than 2%; "
            "3200000 is exact",
        ),
    ],
)
def test_baud_rates_out_of_reach(clock, baud, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        baud_divisor(clock, baud)


@pytest.mark.parametrize("component", [UARTReceiver, UARTTransmitter])
def test_divisor_must_have_a_middle(component):
    with pytest.raises(ValueError, match=r"^UART divisor must be at least 4, not 3$"):
        component(3)
