"""Measures language models: share of the memory's bandwidth in decode, of the array in prefill.

A decoder of the shape of glassllm, four times as wide (d = 512, 8 heads of 64, 4 of them for keys
and values, gated layer of 1,365), with random weights, runs on the RTL and on the golden machine,
which must agree in every byte. The memory answers after 40 cycles. In decode the bytes that must
move are weights, their scales, gains of norms, and the keys and values of all positions; the limit
is what the memory can move in the cycles taken.
"""

from functools import cache, partial

import numpy as np
from records import Measurement, main

from celosia.cli.machines import open_simulation
from celosia.compiler.compile_decoder import compile_decoder
from celosia.compiler.decoder import (
    Decoder,
    DecoderBlock,
    GatedFeedForward,
    GroupedAttention,
    RmsNorm,
    Rope,
)
from celosia.compiler.emit_decoder import decoder_shape
from celosia.compiler.graph import Linear
from celosia.compiler.program import Program
from celosia.config import PRESETS, MachineConfig
from celosia.runtime.generate import Generator
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.lockstep import LockstepSession

__all__ = ["MEASUREMENTS", "moved_bytes", "prefill_macs", "program", "random_decoder"]

CONFIG = PRESETS["bench"]
HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCABULARY = 512, 8, 4, 64, 1365, 1024
LAYERS, CONTEXT = 2, 256
#: Bytes of a channel's multiplier, shift and bias, and of an element of a norm's gain.
SCALE_BYTES, GAIN_BYTES = 8, 2
#: Tokens in the cache when decode is measured.
POSITION = 128


def random_decoder() -> Decoder:
    """Return a decoder with random weights."""
    rng = np.random.default_rng(3)

    def linear(name: str, outputs: int, inputs: int) -> Linear:
        weight = rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
        return Linear(name=name, weight=weight)

    def norm(name: str) -> RmsNorm:
        gamma = rng.uniform(0.5, 1.5, HIDDEN).astype(np.float32)
        return RmsNorm(name=name, gamma=gamma, eps=1e-6)

    def block(name: str) -> DecoderBlock:
        return DecoderBlock(
            attention=GroupedAttention(
                heads=HEADS,
                kv_heads=KV_HEADS,
                head_dim=HEAD_DIM,
                q=linear(f"{name}.q", HEADS * HEAD_DIM, HIDDEN),
                k=linear(f"{name}.k", KV_HEADS * HEAD_DIM, HIDDEN),
                v=linear(f"{name}.v", KV_HEADS * HEAD_DIM, HIDDEN),
                o=linear(f"{name}.o", HIDDEN, HEADS * HEAD_DIM),
            ),
            ffn=GatedFeedForward(
                gate=linear(f"{name}.gate", FFN, HIDDEN),
                up=linear(f"{name}.up", FFN, HIDDEN),
                down=linear(f"{name}.down", HIDDEN, FFN),
                activation="silu",
            ),
            norm1=norm(f"{name}.norm1"),
            norm2=norm(f"{name}.norm2"),
        )

    return Decoder(
        name="random",
        hidden=HIDDEN,
        embedding=rng.normal(0, 1, (VOCABULARY, HIDDEN)).astype(np.float32),
        blocks=tuple(block(f"block{index}") for index in range(LAYERS)),
        final_norm=norm("final_norm"),
        head=linear("head", VOCABULARY, HIDDEN),
        tied=False,
        rope=Rope(base=10000.0, layout="adjacent"),
        context=CONTEXT,
    )


@cache
def program(config: MachineConfig = CONFIG) -> Program:
    """Return the decoder's program; random rows of moderate size need no 16 bits."""
    samples = [np.random.default_rng(4).integers(0, VOCABULARY, 64)]
    return compile_decoder(random_decoder(), config, samples=samples, precision="A8W8")


def moved_bytes(position: int, tokens: int = 1) -> int:
    """Return the bytes that must move to take tokens in behind a position."""
    linears, norms = random_decoder().linears, 2 * LAYERS + 1
    constants = sum(linear.weight.size + SCALE_BYTES * linear.outputs for linear in linears)
    cache_row = 2 * KV_HEADS * HEAD_DIM * LAYERS
    return constants + norms * HIDDEN * GAIN_BYTES + (position + 2 * tokens) * cache_row


def prefill_macs(tokens: int) -> int:
    """Return the products of a prefill from position 0 on, logits for the last token alone."""
    linears = random_decoder().linears
    scores = 2 * HEADS * HEAD_DIM * LAYERS * tokens * (tokens + 1) // 2
    return (
        tokens * sum(linear.weight.size for linear in linears[:-1])
        + scores
        + linears[-1].weight.size
    )


class Pair:
    """The decoder on RTL and golden machine together."""

    def __init__(self, bandwidth: int = 256) -> None:
        code = program()
        golden = GoldenDevice(CONFIG).open(code)
        device = open_simulation(CONFIG, bandwidth=bandwidth)
        self.session = LockstepSession(code, golden, device.open(code))
        self.generator = Generator(code, self.session)
        self.tokens = np.random.default_rng(5).integers(0, VOCABULARY, CONTEXT).tolist()

    def fill(self, tokens: int) -> int:
        """Take tokens into the cache; return the cycles of all runs."""
        first = len(self.generator.runs)
        self.generator.prefill(self.tokens[:tokens])
        return sum(run.counters["cycles"] for run in self.generator.runs[first:])

    def cycles(self) -> int:
        """Return the cycles of the last run."""
        return self.generator.runs[-1].counters["cycles"]

    def finish(self, **found: object) -> dict[str, object]:
        """Compare the whole memory, end, and return what a record says."""
        with self.session:
            compared = self.session.compare_memory()
        return {
            **found,
            "bytes_compared": compared.bytes_compared,
            "mismatches": compared.mismatches,
            "differences": [str(one) for one in compared.differences[:4]],
        }


def _decode(bytes_per_cycle: int) -> dict[str, object]:
    pair = Pair(256 * bytes_per_cycle // CONFIG.memory_width)
    pair.fill(POSITION)
    pair.generator.decode(1)
    cycles = pair.cycles()
    moved = moved_bytes(POSITION)
    reads = pair.generator.runs[-1].counters["memory_reads"] * CONFIG.memory_width
    return pair.finish(
        value=moved / (cycles * bytes_per_cycle),
        cycles=cycles,
        bytes=moved,
        bytes_read=reads,
        tokens_per_second_at_100_mhz=1e8 / cycles,
    )


def _prefill(tokens: int) -> dict[str, object]:
    pair = Pair()
    cycles = pair.fill(tokens)
    return pair.finish(value=prefill_macs(tokens) / CONFIG.multipliers / cycles, cycles=cycles)


def _speculate(drafts: int) -> dict[str, object]:
    pair = Pair()
    pair.fill(POSITION)
    pair.generator.decode(1)
    one = pair.cycles()
    pair.generator.score(pair.tokens[:drafts])
    return pair.finish(value=pair.cycles() / one, cycles=pair.cycles(), cycles_of_one=one)


def _program_bytes() -> dict[str, object]:
    code = program()
    return {"value": code.extra["program_bytes"], "block": decoder_shape(code).block}


MEASUREMENTS = [
    *(
        Measurement(f"bandwidth.decode.b{size}", 0.95, 1.0, "", CONFIG.name, partial(_decode, size))
        for size in (4, 8, 16)
    ),
    Measurement("util.prefill.t128", 0.90, 1.0, "", CONFIG.name, partial(_prefill, 128)),
    *(
        Measurement(
            f"cost.speculate.k{drafts}", 1.3, 1.0, "x", CONFIG.name, partial(_speculate, drafts)
        )
        for drafts in (2, 4, 8)
    ),
    Measurement("size.decoder.program", None, None, "B", CONFIG.name, _program_bytes),
]

if __name__ == "__main__":
    main(str(__doc__), "bench_decode.py", MEASUREMENTS)
