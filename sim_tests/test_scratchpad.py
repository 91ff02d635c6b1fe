# amaranth: UnusedElaboratable=no
"""The scratchpad and the exponents, in simulation and, for the rules of streams, in the solver."""

import json

import pytest
from amaranth import Elaboratable, Module
from amaranth.hdl import Assert, Assume, Cover
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from contracts import drive, holds
from harness import prove, simulate

from celosia.config import PRESETS
from celosia.rtl.exponents import ExponentFile, ExponentRead, ScratchpadWord, ScratchpadWrite
from celosia.rtl.scratchpad import Scratchpad


class Memories(wiring.Component):
    """The scratchpad and its exponents, as a machine has them."""

    def __init__(self, config, readers, writers):
        self.config = config
        self.scratchpad = Scratchpad(config, readers, writers)
        self.exponents = ExponentFile(config, 2)
        address = range(config.scratchpad_words)
        super().__init__({
            "writes": In(stream.Signature(ScratchpadWrite(config))).array(writers),
            "requests": In(stream.Signature(address)).array(readers),
            "words": Out(stream.Signature(ScratchpadWord(config))).array(readers),
            "reads": In(ExponentRead(config)).array(2),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.scratchpad = scratchpad = self.scratchpad
        m.submodules.exponents = exponents = self.exponents
        connect(m, scratchpad.written, exponents.written)
        for name in ("writes", "requests"):
            for outer, inner in zip(getattr(self, name), getattr(scratchpad, name), strict=True):
                connect(m, flipped(outer), inner)
        for outer, inner in zip(self.words, scratchpad.words, strict=True):
            connect(m, inner, flipped(outer))
        for outer, inner in zip(self.reads, exponents.reads, strict=True):
            connect(m, flipped(outer), inner)
        return m


def sized(name, rows, columns, banks):
    return PRESETS["tiny"].replace(
        name=name,
        rows=rows,
        columns=columns,
        scratchpad_words=64,
        scratchpad_banks=banks,
        exponent_slots=16,
        attention_rows=4,
    )


@pytest.mark.parametrize(
    ("config", "readers", "writers"),
    [
        pytest.param(sized("tiny", 4, 4, 2), 3, 3, id="tiny"),
        pytest.param(sized("parts", 16, 8, 4), 4, 2, id="parts"),
        pytest.param(sized("plain", 4, 8, 1), 2, 1, id="plain"),
    ],
)
def test_keeps_every_word(config, readers, writers, tmp_path):
    simulate(
        Memories(config, readers, writers),
        "tb_scratchpad",
        tmp_path,
        CONFIG=json.dumps(config.to_dict()),
        READERS=readers,
        WRITERS=writers,
        WRITE_LATENCY=Scratchpad.write_latency,
    )


class KeepsPortRules(Elaboratable):
    """Words stay until taken, and there are never more of them than requests."""

    def __init__(self, dut):
        self.dut = dut

    def elaborate(self, platform):
        m = Module()
        m.submodules.dut = dut = self.dut
        for index, write in enumerate(dut.writes):
            drive(m, write.valid)
            drive(m, write.payload)
            holds(m, write, Assume, name=f"write_{index}")
        m.d.comb += Assert(dut.writes[0].ready)
        for index, (request, word) in enumerate(zip(dut.requests, dut.words, strict=True)):
            drive(m, request.valid)
            drive(m, request.payload)
            drive(m, word.ready)
            holds(m, request, Assume, name=f"request_{index}")
            holds(m, word, Assert, name=f"word_{index}")
        m.d.comb += Cover(dut.words[1].valid & ~dut.words[1].ready & dut.requests[1].valid)
        return m


@pytest.mark.parametrize("mode", ["bmc", "cover"])
def test_keeps_stream_rules(mode, tmp_path):
    config = sized("formal", 4, 4, 2)
    prove(KeepsPortRules(Scratchpad(config, 2, 2)), tmp_path, mode=mode, depth=9)
