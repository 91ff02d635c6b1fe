"""Opens the devices that the commands run programs on."""

from pathlib import Path

from celosia.config import MachineConfig
from celosia.errors import ConfigError, DeviceError
from celosia.generate import MODULE, cache_root, elaborate
from celosia.runtime.devices import Device
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.sim_device import SimDevice
from celosia.runtime.verilator_tools import verilator_environment

__all__ = ["check_generated", "open_device", "open_simulation"]


def open_simulation(
    config: MachineConfig,
    generated: Path | None = None,
    *,
    latency: int = 40,
    bandwidth: int = 256,
    events: bool = False,
) -> SimDevice:
    """Return the simulated RTL, freshly generated or of a folder that `celosia generate` wrote."""
    verilator_environment()  # what is missing is said before anything long begins
    if generated is None:
        verilog = elaborate(config).path
    else:
        check_generated(generated, config)
        verilog = generated / f"{MODULE}.v"
    cache = cache_root() / "sim"
    return SimDevice(config, verilog, cache, latency=latency, bandwidth=bandwidth, events=events)


def check_generated(folder: Path, config: MachineConfig) -> None:
    """Check that a generated folder holds the machine that `config` describes.

    Raises
    ------
    ConfigError
        If files are missing or damaged, or the machine is another one.
    """
    import json
    from hashlib import sha256

    from celosia import isa

    described = folder / f"{MODULE}.json"
    try:
        description = json.loads(described.read_text())
        verilog = (folder / f"{MODULE}.v").read_bytes()
        found = {key: description[key] for key in ("digest", "isa", "sha256")}
    except OSError as error:
        raise ConfigError(
            f"{error.filename}: cannot be read: {error.strerror}; `celosia generate` writes it"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{described}: is damaged ({error}); generate it again") from error
    if sha256(verilog).hexdigest() != found["sha256"].get(f"{MODULE}.v"):
        raise ConfigError(
            f"{folder / MODULE}.v: its checksum is not that of {MODULE}.json; generate it again"
        )
    if found["isa"] != isa.VERSION:
        raise ConfigError(
            f"{described}: instruction set version must be {isa.VERSION}, not {found['isa']}; "
            "generate it again"
        )
    if found["digest"] != config.digest().hex():
        raise ConfigError(
            f"{described}: another configuration (digest {found['digest']}) than the program's "
            f"{config.name!r} ({config.digest().hex()}); generate or compile with the other one"
        )


def open_device(name: str, config: MachineConfig) -> Device:
    """Return the device called `name`.

    Raises
    ------
    DeviceError
        If there is no such device.
    """
    if name == "golden":
        return GoldenDevice(config)
    if name == "sim":
        return open_simulation(config)
    raise DeviceError(f"device {name!r} is not known; known: golden, sim, serial:PORT")
