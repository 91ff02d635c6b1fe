"""Measures the encoder's utilisation over latency and bandwidth of the memory, bit for bit.

The whole of all-MiniLM-L6-v2 runs for each pair on the RTL. The bound is the roofline: the larger
of the ideal cycles of the array and of the beats that the program moves at that bandwidth.
"""

from functools import cache, partial
from pathlib import Path

from bench_utilisation import encoder, roofline
from records import Measurement, main

from celosia.cli.machines import open_simulation
from celosia.config import PRESETS, MachineConfig
from celosia.runtime.compare import mac_cycles, require_equal
from celosia.runtime.golden_device import GoldenDevice

__all__ = ["BANDWIDTHS", "LATENCIES", "MEASUREMENTS", "plot"]

TOKENS = (128, 32)
LATENCIES = (10, 40, 100, 200)
BANDWIDTHS = (4, 8, 16, 32)
#: Where the plots go.
FOLDER = Path("build/bench")


def configuration(bandwidth: int) -> MachineConfig:
    """Return the machine for a bandwidth in bytes a cycle: its port is no narrower."""
    bench = PRESETS["bench"]
    if bandwidth <= bench.memory_width:
        return bench
    return bench.replace(name=f"bench{bandwidth}", memory_width=bandwidth)


@cache
def reference(config: MachineConfig, tokens: int):
    """Return program, inputs and what the golden machine makes of them."""
    program, inputs = encoder(config, tokens)
    return program, inputs, GoldenDevice(config).run(program, [inputs])


def measure(tokens: int, latency: int, bandwidth: int) -> dict[str, object]:
    """Run the encoder with one kind of memory; the value is its share of the roofline."""
    config = configuration(bandwidth)
    program, inputs, golden = reference(config, tokens)
    beats = 256 * bandwidth // config.memory_width
    batch = open_simulation(config, latency=latency, bandwidth=beats).run(program, [inputs])
    found = require_equal(program, golden, batch)
    counters = batch.runs[0].counters
    utilisation = mac_cycles(program) / counters["cycles"]
    bound = roofline(program, counters, beats)
    RESULTS[tokens, latency, bandwidth] = utilisation, bound
    if len([key for key in RESULTS if key[0] == tokens]) == len(LATENCIES) * len(BANDWIDTHS):
        plot(tokens, FOLDER / f"sensitivity_t{tokens}.svg")
    return {
        "value": utilisation / bound,
        "utilisation": utilisation,
        "roofline": bound,
        "cycles": counters["cycles"],
        "mismatches": found.mismatches,
    }


#: Utilisation and roofline by tokens, latency and bandwidth.
RESULTS: dict[tuple[int, int, int], tuple[float, float]] = {}


def plot(tokens: int, path: Path) -> None:
    """Draw utilisation over latency, a line for each bandwidth, the roofline dashed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for number, bandwidth in enumerate(BANDWIDTHS):
        found, bounds = zip(
            *(RESULTS[tokens, latency, bandwidth] for latency in LATENCIES), strict=True
        )
        axes.plot(LATENCIES, found, "o-", color=f"C{number}", label=f"{bandwidth} B/cycle")
        axes.plot(LATENCIES, bounds, "--", color=f"C{number}")
    axes.set(
        title=f"MiniLM-L6, {tokens} tokens, 16x16 (dashed: roofline)",
        xlabel="memory latency, cycles",
        ylabel="utilisation of the array",
        ylim=(0, 1.05),
    )
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


MEASUREMENTS = [
    Measurement(
        f"sensitivity.minilm.t{tokens}.latency{latency}.b{bandwidth}",
        0.95,
        1.0,
        "of the roofline",
        configuration(bandwidth).name,
        partial(measure, tokens, latency, bandwidth),
    )
    for tokens in TOKENS
    for bandwidth in BANDWIDTHS
    for latency in LATENCIES
]

if __name__ == "__main__":
    main(str(__doc__), "bench_sensitivity.py", MEASUREMENTS)
