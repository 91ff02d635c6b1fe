# amaranth: UnusedElaboratable=no
"""The cores whose benches run on netlists: how each is made, and the benches with their settings.

They are the components of the tests of the same names, in a small size of each.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import test_pe_kinds
import test_systolic
from amaranth import unsigned
from test_scratchpad import Memories
from test_scratchpad import sized as sized_memories
from test_stream import Buffers

from celosia.config import PRESETS
from celosia.cores.activation import TableActivation
from celosia.cores.argmax import RowArgmax
from celosia.cores.divide import PipelinedReciprocal
from celosia.cores.multiply import Multiplier
from celosia.cores.pe import ProcessingElement
from celosia.cores.pe_kinds import KINDS
from celosia.cores.pe_sparse import Selector
from celosia.cores.quantise import Quantiser
from celosia.cores.requant import Requantiser
from celosia.cores.row_functions import RowFunctions
from celosia.cores.serial import SerialDivider, SerialMultiplier, SerialSquareRoot
from celosia.cores.single_port import SinglePortMemory
from celosia.cores.softmax import StreamingSoftmax
from celosia.cores.systolic import SystolicArray
from celosia.rtl.memory_reader import MemoryReader
from celosia.rtl.micro_columns import Columns
from celosia.rtl.micro_layout import STRIP
from celosia.rtl.on_chip import OnChipMemory
from celosia.rtl.scratchpad import Scratchpad

__all__ = ["CORES", "Core"]

Benches = list[tuple[str, dict[str, object]]]

TINY = PRESETS["tiny"]
ROWS = TINY.replace(name="l8v2", rows=8, vector_lanes=2, attention_rows=4)
SOFTMAX = TINY.replace(name="4x4", attention_rows=8, accumulator_width=24)
MEMORIES = sized_memories("tiny", 4, 4, 2)
ON_CHIP = PRESETS["bench"].replace(
    name="width4", memory="on_chip", memory_width=4, on_chip_bytes=2048
)
READER = PRESETS["bench"].replace(
    name="width4", memory_width=4, outstanding_reads=2, watchdog_cycles=150
)


@dataclass(frozen=True)
class Core:
    """How a core is made, and its benches with the environment of each."""

    make: Callable[[], Any]
    benches: Callable[[Any], Benches]


def _of(config: Any) -> dict[str, object]:
    return {"CONFIG": json.dumps(config.to_dict())}


def _with_latency(testbench: str, **env: object) -> Callable[[Any], Benches]:
    return lambda dut: [(testbench, {**env, "LATENCY": dut.latency})]


def _kind(kind: str) -> Core:
    environments = [test_pe_kinds.environment(kind, mode, 32) for mode in range(KINDS[kind].modes)]
    return Core(
        partial(test_pe_kinds.AtRowEdge, kind),
        lambda dut: [("tb_pe_kinds", env) for env in environments],
    )


def _array(kind: str, sparsity: int) -> Core:
    config = test_systolic.sized(4, 4).replace(sparsity=sparsity)
    return Core(
        lambda: SystolicArray(config, kind),
        lambda dut: [("tb_systolic", test_systolic.environment(dut, kind))],
    )


def _serial(kind: str, unit: Any, *widths: int, cycles: int) -> Core:
    env = {"KIND": kind, "WIDTHS": " ".join(map(str, widths)), "CYCLES": cycles}
    return Core(lambda: unit(*widths), lambda dut: [("tb_serial", env)])


def _softmax(dut: StreamingSoftmax) -> Benches:
    names = ("latency", "reciprocal_latency", "turnaround")
    return [("tb_softmax", _of(SOFTMAX) | {name.upper(): getattr(dut, name) for name in names})]


CORES = {
    "multiply": Core(lambda: Multiplier(12, 16), _with_latency("tb_multiply", WIDTHS="12 16")),
    "pe": Core(lambda: ProcessingElement(18, 19), _with_latency("tb_pe", ADDEND_WIDTH=18)),
    **{f"pe.{kind}": _kind(kind) for kind in KINDS},
    "pe.sparse": Core(lambda: Selector(4), lambda dut: [("tb_pe_sparse", {"M": 4})]),
    "systolic": _array("multiply", 1),
    "systolic.packed": _array("packed", 1),
    "systolic.sparse": _array("multiply", 4),
    "quantise": Core(lambda: Quantiser(3), _with_latency("tb_quantise", LANES=3)),
    "requant": Core(
        lambda: Requantiser(TINY, unsigned(9)), _with_latency("tb_requant", **_of(TINY))
    ),
    "activation": Core(
        lambda: TableActivation(TINY, unsigned(9)), _with_latency("tb_activation", **_of(TINY))
    ),
    "divide": Core(lambda: PipelinedReciprocal(15), _with_latency("tb_divide", WIDTH=15)),
    "softmax": Core(lambda: StreamingSoftmax(SOFTMAX), _softmax),
    # Norm, products and largest element share their lanes.
    "rows": Core(
        lambda: RowFunctions(ROWS),
        lambda dut: [("tb_layernorm", _of(ROWS)), ("tb_multiply_rows", _of(ROWS))],
    ),
    "argmax": Core(lambda: RowArgmax(4), _with_latency("tb_argmax", LANES=4)),
    "serial.multiply": _serial("multiplier", SerialMultiplier, 3, 5, cycles=6),
    "serial.divide": _serial("divider", SerialDivider, 36, 13, cycles=37),
    "serial.root": _serial("root", SerialSquareRoot, 20, cycles=21),
    "stream": Core(Buffers, lambda dut: [("tb_stream", {})]),
    "scratchpad": Core(
        lambda: Memories(MEMORIES, 3, 3),
        lambda dut: [
            (
                "tb_scratchpad",
                _of(MEMORIES)
                | {"READERS": 3, "WRITERS": 3, "WRITE_LATENCY": Scratchpad.write_latency},
            )
        ],
    ),
    "single_port": Core(
        lambda: SinglePortMemory(5000), lambda dut: [("tb_single_port", {"DEPTH": dut.depth})]
    ),
    "columns": Core(Columns, _with_latency("tb_columns", STRIP=STRIP)),
    "on_chip": Core(lambda: OnChipMemory(ON_CHIP), lambda dut: [("tb_on_chip", _of(ON_CHIP))]),
    "memory_reader": Core(
        lambda: MemoryReader(READER, [64, 16], [0, 8]),
        lambda dut: [
            ("tb_memory_reader", _of(READER) | {"DEPTHS": "[64, 16]", "RESERVES": "[0, 8]"})
        ],
    ),
}
