"""Takes ATTENDs apart into passes and drains, scores ahead of output."""

from amaranth import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.isa import Opcode
from celosia.rtl.decode import operand_layout
from celosia.rtl.passes import KeyBlock, Step
from celosia.rtl.stream import SkidBuffer
from celosia.rtl.walk_output import OutputWalker
from celosia.rtl.walk_scores import ScoreWalker

__all__ = ["AttendWalker"]


class AttendWalker(wiring.Component):
    """Orders scores and output, block by block, across runs and instructions.

    The order is S(0), S(1), O(0), S(2), O(1), …: while the softmax works on the scores of one
    block, the array forms those of the next and the output of the one before. Two blocks of
    probabilities exist at a time, told apart by their parity. The output of a block that no other
    follows waits for one until `flush` says that the array would.

    Members
    -------
    i : In(stream.Signature(operand_layout(ATTEND)))
        Instructions; taken when the last step of their scores has left.
    o : Out(stream.Signature(Step(config)))
        Steps, in order.
    flush : In(1)
        Go on with the output even if no instruction has come.
    idle : Out(1)
        All steps of the instructions taken have left.
    """

    i: stream.Interface
    o: stream.Interface
    flush: Signal
    idle: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(operand_layout(Opcode.ATTEND))),
            "o": Out(stream.Signature(Step(config))),
            "flush": In(1),
            "idle": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.scores = scores = ScoreWalker(self.config)
        m.submodules.blocks = blocks = SkidBuffer(KeyBlock(self.config))
        m.submodules.output = output = OutputWalker(self.config)
        connect(m, flipped(self.i), scores.i)
        connect(m, blocks.o, output.i)

        # Blocks whose scores have left and whose output has not, at most two.
        waiting = Signal(2)
        scored = Signal()
        ended = Signal()
        m.d.comb += [
            scored.eq(scores.o.valid & scores.o.ready & scores.last),
            ended.eq(output.o.valid & output.o.ready & output.last),
            blocks.i.payload.eq(scores.block),
            blocks.i.valid.eq(scored),
            self.idle.eq(waiting == 0),
            scores.joins.eq(~self.idle),
        ]
        m.d.sync += waiting.eq(waiting + scored - ended)

        with m.FSM():
            with m.State("CHOOSE"):
                with m.If(scores.o.valid & (waiting != 2)):
                    m.next = "SCORES"
                with m.Elif((waiting == 2) | (self.flush & (waiting != 0))):
                    m.next = "OUTPUT"
            for state, walker, left in (("SCORES", scores, scored), ("OUTPUT", output, ended)):
                with m.State(state):
                    m.d.comb += [
                        self.o.valid.eq(walker.o.valid),
                        walker.o.ready.eq(self.o.ready),
                        Value.cast(self.o.payload).eq(Value.cast(walker.o.payload)),
                    ]
                    with m.If(left):
                        m.next = "CHOOSE"
        return m
