"""Settings of the whole suite."""

from hypothesis import settings

# A first example may compile something; and the same examples run everywhere.
settings.register_profile("celosia", deadline=None, derandomize=True)
settings.load_profile("celosia")
