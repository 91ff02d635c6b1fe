"""Asynchronous serial line: 8 bits, the least significant first, no parity, one stop bit."""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UARTReceiver", "UARTTransmitter", "baud_divisor"]

#: Fewer clock cycles in a bit leave no room to find its middle.
MIN_DIVISOR = 4
#: Largest deviation of the bit's length: half of what a receiver bears over ten bits, the other
#: half is left to the partner.
MAX_ERROR = 0.02


def baud_divisor(clock: float, baud: float) -> int:
    """Return the clock cycles of one bit at `baud` bits per second and a clock of `clock` Hz.

    Raises
    ------
    ValueError
        If the clock is too slow, or no whole number of cycles comes near enough.
    """
    divisor = round(clock / baud)
    if divisor < MIN_DIVISOR:
        raise ValueError(
            f"baud rate must be at most a clock of {clock:.0f} Hz / {MIN_DIVISOR}, not {baud:.0f}"
        )
    error = abs(clock / divisor / baud - 1)
    if error > MAX_ERROR:
        raise ValueError(
            f"baud rate {baud:.0f} is {error:.1%} off at a clock of {clock:.0f} Hz, more than "
            f"{MAX_ERROR:.0%}; {clock / divisor:.0f} is exact"
        )
    return divisor


def _check_divisor(divisor: int) -> None:
    if divisor < MIN_DIVISOR:
        raise ValueError(f"UART divisor must be at least {MIN_DIVISOR}, not {divisor}")


class UARTReceiver(wiring.Component):
    """Receiver that samples each bit in its middle, counted from the start bit's edge.

    Two flip-flops bring the line into the clock domain. A start bit that is gone by its middle and
    a byte without a stop bit are dropped. So is a byte that ends while the one before it has not
    been taken. A byte is offered two cycles after the middle of its stop bit.

    Parameters
    ----------
    divisor : int
        Clock cycles of one bit, at least 4.

    Members
    -------
    rx : In(1)
        The line, of any clock; 1 when idle.
    o : Out(stream.Signature(8))
        Bytes.

    Raises
    ------
    ValueError
        If `divisor` is less than 4.
    """

    rx: Signal
    o: stream.Interface

    def __init__(self, divisor: int) -> None:
        _check_divisor(divisor)
        self.divisor = divisor
        # The stubs know only the old name of `init`.
        super().__init__({
            "rx": In(1, init=1),  # pyright: ignore[reportCallIssue]
            "o": Out(stream.Signature(8)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)

        timer = Signal(range(self.divisor))
        left = Signal(range(11))  # bits to sample: start, eight of data, stop
        byte = Signal(8, reset_less=True)
        sample = Signal()
        m.d.comb += sample.eq((left != 0) & (timer == 0))

        with m.If(left == 0):
            m.d.sync += timer.eq(self.divisor // 2 - 1)
            with m.If(~line):
                m.d.sync += left.eq(10)
        with m.Elif(timer == 0):
            m.d.sync += [timer.eq(self.divisor - 1), left.eq(left - 1)]
            with m.If((left == 10) & line):
                m.d.sync += left.eq(0)
        with m.Else():
            m.d.sync += timer.eq(timer - 1)

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(sample & (left != 1)):
            m.d.sync += byte.eq(Cat(byte[1:], line))
        with m.Elif(sample & line & (self.o.ready | ~self.o.valid)):
            m.d.sync += [self.o.payload.eq(byte), self.o.valid.eq(1)]

        return m


class UARTTransmitter(wiring.Component):
    """Transmitter: a byte takes ten bits and one clock cycle.

    The line comes from a register.

    Parameters
    ----------
    divisor : int
        Clock cycles of one bit, at least 4.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes.
    tx : Out(1)
        The line; 1 when idle.

    Raises
    ------
    ValueError
        If `divisor` is less than 4.
    """

    i: stream.Interface
    tx: Signal

    def __init__(self, divisor: int) -> None:
        _check_divisor(divisor)
        self.divisor = divisor
        # The stubs know only the old name of `init`.
        super().__init__({
            "i": In(stream.Signature(8)),
            "tx": Out(1, init=1),  # pyright: ignore[reportCallIssue]
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        timer = Signal(range(self.divisor))
        left = Signal(range(11))
        # Ones follow the byte: the stop bit, and the idle line after it.
        bits = Signal(9, init=-1)

        m.d.comb += [self.tx.eq(bits[0]), self.i.ready.eq(left == 0)]
        with m.If(left == 0):
            m.d.sync += timer.eq(self.divisor - 1)
            with m.If(self.i.valid):
                m.d.sync += [bits.eq(Cat(Const(0, 1), self.i.payload)), left.eq(10)]
        with m.Elif(timer == 0):
            m.d.sync += [
                timer.eq(self.divisor - 1),
                bits.eq(Cat(bits[1:], Const(1, 1))),
                left.eq(left - 1),
            ]
        with m.Else():
            m.d.sync += timer.eq(timer - 1)

        return m
