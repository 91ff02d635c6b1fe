"""Choice of an activation for an element of a sparse array."""

from typing import Any

from amaranth import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.multiplexer import Multiplexer
from celosia.cores.pe import ACTIVATION_BITS

__all__ = ["Selector"]


class Selector(wiring.Component):
    """Gives one of a group of M activations to an element, by the index stored with its weight.

    Of N:M sparse weights only those that are not zero are stored, each with its place in its group
    of M. The rows of the array that hold a group share the M wires of its activations; an element
    multiplies the one that its index names.

    As a weight, an index is kept twice. The shadow index is written at any time, bit by bit or
    several bits at once: a plane is one bit of the indices of many elements. The active one takes
    its value in a cycle with `swap` and chooses from the next cycle on: so nothing but the choice
    lies between the wires and `activation`, which is combinational. A plane written in the same
    cycle as a swap comes into use at the next swap. After reset the index is undefined until all
    its planes have been loaded and swapped in.

    Parameters
    ----------
    m : int
        Activations of a group: a power of two, 2 or more.

    Members
    -------
    wires : In(data.ArrayLayout(signed(9), m))
        The activations of the group, first the one that index 0 means.
    swap : In(1)
        Put the shadow index in use, from the activations of the next cycle on.
    plane_enable : In(log2(m))
        Of each plane: take its bit.
    plane_bits : In(log2(m))
        The bits.
    activation : Out(signed(9))
        The chosen one.

    Raises
    ------
    ValueError
        If `m` is not a power of two, or less than 2.
    """

    wires: Any
    swap: Signal
    plane_enable: Signal
    plane_bits: Signal
    activation: Signal

    def __init__(self, m: int) -> None:
        if m < 2 or m & m - 1:
            raise ValueError(f"Selector m must be a power of two, 2 or more, not {m}")
        self.m = m
        super().__init__({
            "wires": In(data.ArrayLayout(signed(ACTIVATION_BITS), m)),
            "swap": In(1),
            "plane_enable": In(m.bit_length() - 1),
            "plane_bits": In(m.bit_length() - 1),
            "activation": Out(signed(ACTIVATION_BITS)),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        planes = len(self.plane_enable)
        shadow = Signal(planes, reset_less=True)
        active = Signal(planes, reset_less=True)
        for plane in range(planes):
            with m.If(self.plane_enable[plane]):
                m.d.sync += shadow[plane].eq(self.plane_bits[plane])
        with m.If(self.swap):
            m.d.sync += active.eq(shadow)

        m.submodules.multiplexer = multiplexer = Multiplexer(ACTIVATION_BITS, self.m)
        m.d.comb += [
            multiplexer.i.eq(self.wires),
            multiplexer.index.eq(active),
            self.activation.eq(multiplexer.o),
        ]
        return m
