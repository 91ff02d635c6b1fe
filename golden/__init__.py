"""The machine in NumPy, bit for bit.

One module per core, of the same file name, and `machine`, which executes a program on a memory
image. Only arithmetic is here: no hardware description is imported, so that a compiler or a
notebook can use it alone.
"""
