"""The layers that throughput is measured on, on the golden machine."""

import numpy as np
import pytest

from celosia.compiler.cycles import predict
from celosia.compiler.workloads import attention, edged, growing, mha_ffn
from celosia.config import PRESETS
from celosia.golden.softmax import attention_float
from celosia.isa import Opcode, disassemble
from celosia.runtime.compare import mac_cycles
from celosia.runtime.golden_device import GoldenDevice

SMALL = PRESETS["small"].replace(exponent_slots=4096, scratchpad_words=8192)


def run(program, seed=1):
    rng = np.random.default_rng(seed)
    inputs = [rng.integers(-128, 128, (t.rows, t.pitch), np.int8) for t in program.inputs]
    writes = [(t.address, x.tobytes()) for t, x in zip(program.inputs, inputs, strict=True)]
    batch = GoldenDevice(program.config).run(program, [writes])
    (output,) = program.outputs
    dtype = np.dtype(output.dtype).newbyteorder("<")
    y = np.frombuffer(batch.runs[0].outputs[output.address], dtype)
    return inputs, y.reshape(output.rows, -1)[:, : output.columns], batch.runs[0].counters


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("queries", "keys"), [(8, 24), (48, 48), (96, 304)])
def test_attention_is_that_of_float(queries, keys, causal):
    width = 16
    program = attention(SMALL, queries=queries, keys=keys, width=width, causal=causal)
    (q, k, v), y, counters = run(program)
    assert counters["mac_rows"] >= mac_cycles(program)
    # The scale of the logits is the program's: a spread of two octaves.
    logits = 2 * np.log(2) / (74**2 * width**0.5) * width**0.5
    for row in range(queries):
        seen = keys - queries + row + 1 if causal else keys
        expected = attention_float(q[row : row + 1] * logits, k[:seen], v[:, :seen].T)
        np.testing.assert_allclose(y[row : row + 1], expected, atol=0.03 * 128)


def test_buffers_of_attention_do_not_grow_with_the_keys():
    reach = []
    for keys in (512, 4096):
        program = attention(SMALL, queries=16, keys=keys, width=16)
        code = disassemble(program.code)
        loads = [ins for ins in code if ins.opcode is Opcode.LOAD]
        reach.append(max(ins["base"] + ins["rows"] * ins["stride"] for ins in loads))
    assert reach[0] == reach[1]


@pytest.mark.parametrize("chaining", [False, True])
def test_a_layer_uses_all_of_its_range_and_saturates_little(chaining):
    config = SMALL.replace(chaining=chaining)
    program = mha_ffn(config, tokens=32, embed=24, project=16, ffn=40, begin=16, end=8)
    _, y, counters = run(program)
    assert 5 < y.std() < 60
    assert counters["saturations"] < 0.01 * 32 * (24 + 3 * 16 + 24 + 40)
    assert counters["mac_rows"] >= mac_cycles(program)


@pytest.mark.parametrize(
    ("shape", "begin", "lost"),
    [
        ({"tokens": 64, "embed": 64, "project": 64, "ffn": 64, "end": 16}, 31, (511, 311)),
        ({"tokens": 128, "embed": 192, "project": 256, "ffn": 256, "end": 16}, 25, (744, 346)),
    ],
    ids=["s64", "s128"],
)
@pytest.mark.parametrize("chaining", [False, True])
def test_a_layer_loses_few_cycles(shape, begin, lost, chaining):
    config = PRESETS["bench"].replace(chaining=chaining)
    program = mha_ffn(config, **shape, begin=begin)
    code = disassemble(program.code)
    cycles = predict(code, program.config, entry=program.entry).cycles
    assert cycles - mac_cycles(program) <= lost[chaining]


@pytest.mark.parametrize("rows", [1, 31, 64, 65, 96, 500, 512, 2048])
def test_blocks_of_queries_add_up(rows):
    sizes = edged(rows, 128)
    assert sum(sizes) == rows
    assert max(sizes) <= 128 or rows <= 64


@pytest.mark.parametrize("count", [1, 16, 17, 100, 1000])
def test_runs_of_keys_add_up(count):
    sizes = growing(count, 128, 16)
    assert sum(sizes) == count
    assert max(sizes) <= 128
