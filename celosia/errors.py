"""Errors that a user can cause or cure.

A message is one or two lines. It names the file, the layer or the parameter, then the rule, then
what was given, then what to change: "tiny.toml: rows must be a power of two, not 12; use 8 or
16". The command line prints it without a traceback and exits with the error's `exit_status`.
"""

__all__ = [
    "CelosiaError",
    "CheckFailed",
    "ConfigError",
    "DeviceError",
    "ModelError",
    "ProgramError",
    "ToolError",
]


class CelosiaError(Exception):
    """Base of every error that Celosia raises on purpose: bad input, exit status 2."""

    exit_status = 2


class CheckFailed(CelosiaError):
    """A comparison or a test ran to its end and did not hold: exit status 1."""

    exit_status = 1


class ConfigError(CelosiaError):
    """A configuration has a parameter of the wrong kind, out of range, or in contradiction."""


class ModelError(CelosiaError):
    """A checkpoint cannot be read, or its model cannot be mapped onto the machine."""


class ProgramError(CelosiaError):
    """A program is malformed, or was made for another machine."""


class ToolError(CelosiaError):
    """A tool that the work needs is missing, too old, or failed."""


class DeviceError(CelosiaError):
    """A device cannot be reached, or stopped with a fault."""
