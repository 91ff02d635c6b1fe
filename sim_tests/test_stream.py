# amaranth: UnusedElaboratable=no
"""Stream buffers: behaviour in simulation, rules in the solver."""

import pytest
from amaranth import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from contracts import KeepsStreamRules
from harness import prove, simulate

from celosia.rtl.stream import SkidBuffer, StreamFIFO


class Buffers(wiring.Component):
    """One buffer of each kind."""

    def __init__(self):
        self.buffers = {
            "skid": SkidBuffer(9),
            "distributed": StreamFIFO(9, 5),
            "block": StreamFIFO(9, 40),
        }
        members = {}
        for name in self.buffers:
            members[f"{name}_i"] = In(stream.Signature(9))
            members[f"{name}_o"] = Out(stream.Signature(9))
        super().__init__(members | {"distributed_level": Out(6), "block_level": Out(6)})

    def elaborate(self, platform):
        m = Module()
        for name, buffer in self.buffers.items():
            m.submodules[name] = buffer
            connect(m, flipped(getattr(self, f"{name}_i")), buffer.i)
            connect(m, buffer.o, flipped(getattr(self, f"{name}_o")))
        m.d.comb += [
            self.distributed_level.eq(self.buffers["distributed"].level),
            self.block_level.eq(self.buffers["block"].level),
        ]
        return m


def test_buffers(tmp_path):
    simulate(Buffers(), "tb_stream", tmp_path)


@pytest.mark.parametrize("mode", ["bmc", "cover"])
@pytest.mark.parametrize(
    ("dut", "capacity", "prompt"),
    [
        pytest.param(SkidBuffer(3), 2, True, id="skid"),
        pytest.param(StreamFIFO(3, 4), 4, True, id="distributed"),
        pytest.param(StreamFIFO(1, 17), 17, False, id="block"),
    ],
)
def test_keeps_stream_rules(dut, capacity, prompt, mode, tmp_path):
    spec = KeepsStreamRules(dut, capacity=capacity, prompt=prompt)
    # From reset: induction would need the counts inside. The depth fills and empties each buffer.
    prove(spec, tmp_path, mode=mode, depth=22)


def test_refuses_a_shallow_queue():
    with pytest.raises(ValueError, match=r"^StreamFIFO depth must be at least 3, not 2$"):
        StreamFIFO(8, 2)
