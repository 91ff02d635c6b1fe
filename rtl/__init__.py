"""What composes the cores into a machine.

Streams, buffers, memory access, sequencing, registers, and the accelerator's top, whose text is
its block diagram.
"""
