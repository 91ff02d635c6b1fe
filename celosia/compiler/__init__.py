"""From a checkpoint to a program.

The passes run in this order: import into a graph, quantise, tile and schedule, emit the weight
image, the instructions and the manifest. Nothing here knows the hardware but through
`celosia.config` and `celosia.isa`, and arithmetic comes from the golden models.
"""
