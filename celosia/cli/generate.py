"""`celosia generate`: from a configuration to Verilog."""

import time

from celosia.cli.common import ConfigOption, JsonOption, OutOption, out, working, write_record
from celosia.config import load_config

__all__ = ["generate_command"]


def generate_command(config: ConfigOption, out_dir: OutOption, json: JsonOption = None) -> None:
    """Write a machine as Verilog, with JSON that describes it.

    DIR then holds accelerator.v, for any simulator or synthesis tool, and accelerator.json: ports,
    parameters, registers, memory map, version of the instruction set.
    """
    from celosia.generate import MODULE, generate

    machine = load_config(config)
    begin = time.perf_counter()
    with working(f"generating {machine.name}"):
        design = generate(machine, out_dir)
    lines = design.verilog.count("\n")
    out.print(
        f"{out_dir / MODULE}.v: {lines:,} lines, {machine.rows} by {machine.columns} array, "
        f"{len(design.description['ports'])} ports; described in {MODULE}.json",
        soft_wrap=True,
    )
    write_record(
        json,
        {
            "config": machine.name,
            "lines": lines,
            "seconds": time.perf_counter() - begin,
            **{key: design.description[key] for key in ("digest", "isa", "sha256")},
        },
    )
