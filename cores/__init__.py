"""Compute units that can be used alone.

Each takes and gives streams, is described by a small configuration, and has a twin of the same
file name in `celosia.golden` that it equals bit for bit.
"""
