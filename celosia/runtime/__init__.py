"""Where programs run: the golden machine, the simulated RTL, a board.

Every device has the same interface to the host, so that what works on the NumPy twin works on
the generated Verilog and on the board.
"""
