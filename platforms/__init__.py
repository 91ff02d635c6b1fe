"""Targets: boards, clocks, memories, links to the host, and vendor cells.

A platform may replace a multiplier or a memory of the cores through the hooks `get_multiplier`
and `get_memory`; the name of a vendor appears nowhere else.
"""
