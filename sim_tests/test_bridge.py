"""Serial bridge: requests of the host's own code against an AXI4-Lite memory."""

from harness import simulate

from celosia.rtl.bridge import SerialBridge


def test_bridge(tmp_path):
    simulate(SerialBridge(), "tb_bridge", tmp_path)
