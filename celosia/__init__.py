"""Celosia: a generator of transformer accelerators.

One configuration makes the hardware (Amaranth, out as Verilog), its bit-exact NumPy twin, the
program that maps a trained checkpoint onto it, the simulation that holds the two together, and
the bitstream for a board.
"""
