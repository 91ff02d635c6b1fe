"""The machine of a configuration."""

from celosia.config import MachineConfig
from celosia.rtl.micro_top import MicroAccelerator
from celosia.rtl.top import Accelerator

__all__ = ["machine"]


def machine(config: MachineConfig) -> Accelerator | MicroAccelerator:
    """Return the machine: of both kinds the ports are the same.

    Raises
    ------
    ConfigError
        If there is none of these sizes.
    """
    return MicroAccelerator(config) if config.engine == "micro" else Accelerator(config)
