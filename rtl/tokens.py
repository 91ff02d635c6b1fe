"""Tokens: who waits for whom, as counters from unit to unit."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.cores.arith import count
from celosia.isa import TOKEN_LIMIT, Unit

__all__ = ["TokenBoard", "TokenPort"]


class TokenPort(wiring.Signature):
    """What a unit's queue tells the board, as seen by the queue.

    Members
    -------
    wait, promise : Out(len(Unit)), Out(len(Unit))
        Units that the next instruction waits for, and units that it will signal.
    may_start : In(1)
        All tokens are there, and there is room for those promised.
    starts : Out(1)
        It starts: the tokens are taken.
    signal : Out(len(Unit))
        Units that an instruction signals in this cycle, at its end.
    """

    def __init__(self) -> None:
        super().__init__({
            "wait": Out(len(Unit)),
            "promise": Out(len(Unit)),
            "may_start": In(1),
            "starts": Out(1),
            "signal": Out(len(Unit)),
        })


class TokenBoard(wiring.Component):
    """One counter for each ordered pair of units.

    An instruction starts only if no counter can overflow by what it signals; the assembler's
    check makes that free of deadlock. Outputs come from registers and `wait` alone.

    Members
    -------
    ports : In(TokenPort()).array(len(Unit))
        The units' queues.
    """

    ports: list[wiring.PureInterface]

    def __init__(self) -> None:
        super().__init__({"ports": In(TokenPort()).array(len(Unit))})

    def elaborate(self, platform) -> Module:
        m = Module()
        there = {}  # tokens signalled and not taken
        promised = {}  # the same and those of instructions that have started
        for source in Unit:
            for target in Unit:
                pair = (source, target)
                name = f"{source.name.lower()}_{target.name.lower()}"
                there[pair] = Signal(range(TOKEN_LIMIT + 1), name=f"there_{name}")
                promised[pair] = Signal(range(TOKEN_LIMIT + 1), name=f"promised_{name}")
                giver, taker = self.ports[source], self.ports[target]
                gives, takes = Signal(name=f"gives_{name}"), Signal(name=f"takes_{name}")
                promises = Signal(name=f"promises_{name}")
                m.d.comb += [
                    gives.eq(giver.signal[target]),
                    promises.eq(giver.starts & giver.promise[target]),
                    takes.eq(taker.starts & taker.wait[source]),
                ]
                count(m, there[pair], gives, takes)
                count(m, promised[pair], promises, takes)

        for unit in Unit:
            port = self.ports[unit]
            missing = Signal(len(Unit), name=f"missing_{unit.name.lower()}")
            full = Signal(len(Unit), name=f"full_{unit.name.lower()}")
            for other in Unit:
                m.d.comb += [
                    missing[other].eq(there[other, unit] == 0),
                    full[other].eq(promised[unit, other] == TOKEN_LIMIT),
                ]
            m.d.comb += port.may_start.eq(
                ~(missing & port.wait).any() & ~(full & port.promise).any()
            )
        return m
