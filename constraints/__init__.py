"""Pin, clock and timing files, as package data."""
