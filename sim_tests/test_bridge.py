"""Serial bridge: requests of the host's own code against an AXI4-Lite memory."""

from harness import CACHE, emit

from celosia.rtl.bridge import SerialBridge
from celosia.runtime.verilator import build_simulation, run_simulation


def test_bridge(tmp_path):
    # Without lint: Verilator wants a default in every `case`; state machines have none.
    simulation = build_simulation(emit(SerialBridge(), tmp_path / "top.v"), "top", CACHE)
    run_simulation(simulation, "tb_bridge", tmp_path)
