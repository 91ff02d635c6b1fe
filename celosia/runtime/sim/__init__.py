"""The simulated system: the Verilog around the machine, and the cocotb module that runs it."""
