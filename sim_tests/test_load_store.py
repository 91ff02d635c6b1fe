# amaranth: UnusedElaboratable=no
"""LOAD and STORE through the memory system to a scratchpad, and back."""

import json

import pytest
from amaranth import Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from harness import simulate

from celosia.config import PRESETS
from celosia.cores.activation import TableWrite
from celosia.isa import OPCODES, Opcode
from celosia.rtl.axi import AXI4, connect_halves
from celosia.rtl.decode import header_layout, operand_layout
from celosia.rtl.exponents import ExponentFile, ExponentRead, ScratchpadWord, ScratchpadWrite
from celosia.rtl.load import LoadUnit
from celosia.rtl.memory_reader import MemoryReader
from celosia.rtl.memory_writer import MemoryWriter
from celosia.rtl.parameters import ParameterWrite
from celosia.rtl.scratchpad import Scratchpad
from celosia.rtl.store import StoreUnit


class Mover(wiring.Component):
    """The parts of a machine that move data."""

    def __init__(self, config):
        self.config = config
        super().__init__({
            "load": In(stream.Signature(operand_layout(Opcode.LOAD))),
            "store": In(stream.Signature(operand_layout(Opcode.STORE))),
            "load_done": Out(1),
            "load_busy": Out(1),
            "store_done": Out(1),
            "store_busy": Out(1),
            "intruder": In(stream.Signature(ScratchpadWrite(config))),
            "request": In(stream.Signature(range(config.scratchpad_words))),
            "word": Out(stream.Signature(ScratchpadWord(config))),
            "exponent": In(ExponentRead(config)),
            "parameters": Out(ParameterWrite(config)),
            "table": Out(TableWrite()),
            "window_base": In(32),
            "window_size": In(32),
            "m_axi": Out(AXI4(config)),
            "fault": Out(3),
        })

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.load_unit = load = LoadUnit(config)
        m.submodules.store_unit = store = StoreUnit(config)
        m.submodules.reader = reader = MemoryReader(config, [128])
        m.submodules.writer = writer = MemoryWriter(config)
        m.submodules.scratchpad = scratchpad = Scratchpad(config, 2, 2)
        m.submodules.exponents = exponents = ExponentFile(config, 1)

        connect(m, flipped(self.load), load.instruction)
        connect(m, load.requests, reader.requests[0])
        connect(m, reader.data[0], load.data)
        connect(m, flipped(self.intruder), scratchpad.writes[0])
        connect(m, load.writes, scratchpad.writes[1])
        connect(m, load.parameters, flipped(self.parameters))
        connect(m, load.table, flipped(self.table))
        connect(m, scratchpad.written, exponents.written)
        connect(m, flipped(self.exponent), exponents.reads[0])
        connect(m, flipped(self.request), scratchpad.requests[0])
        connect(m, scratchpad.words[0], flipped(self.word))
        connect(m, flipped(self.store), store.instruction)
        connect(m, store.addresses, scratchpad.requests[1])
        connect(m, scratchpad.words[1], store.words)
        connect(m, store.requests, writer.requests)
        connect(m, store.data, writer.data)
        connect_halves(m, reader.bus, writer.bus, self.m_axi)
        m.d.comb += [
            store.writer_idle.eq(writer.idle),
            self.load_done.eq(load.done),
            self.load_busy.eq(load.busy),
            self.store_done.eq(store.done),
            self.store_busy.eq(store.busy),
            self.fault.eq(Mux(reader.fault, reader.fault, writer.fault)),
        ]
        for unit in (reader, writer):
            m.d.comb += [
                unit.window_base.eq(self.window_base),
                unit.window_size.eq(self.window_size),
            ]
        return m


def sized(preset, **changes):
    changes |= {"memory": "axi4", "on_chip_bytes": 0, "scratchpad_words": 256}
    return PRESETS[preset].replace(exponent_slots=64, **changes)


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(sized("tiny"), id="tiny"),
        pytest.param(sized("small", scratchpad_banks=1), id="small"),
        pytest.param(sized("ulx3s"), id="ulx3s"),
        pytest.param(sized("bench"), id="bench"),
        pytest.param(sized("small", memory_width=16), id="word"),
    ],
)
def test_moves_rows(config, tmp_path):
    simulate(Mover(config), "tb_load_store", tmp_path, CONFIG=json.dumps(config.to_dict()))


@pytest.mark.parametrize("opcode", Opcode)
def test_layouts_follow_the_instruction_set(opcode):
    layout = operand_layout(opcode)
    assert layout.size == 512
    for operand in OPCODES[opcode][1]:
        place = layout[operand.name]
        assert (place.offset, place.width) == (operand.lsb, operand.width)
    for name, place in header_layout():
        assert layout[name] == place
