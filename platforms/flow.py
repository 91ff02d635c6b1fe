"""What the open tools of a family of chips are called, and what they read, write and report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Flow"]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The way of one family from a netlist of yosys to a bitstream.

    Files are those of Amaranth's build plans: `top.` and a suffix.
    """

    #: Tools that place and route, and that write the bitstream, by their names in a plan.
    router: str
    packer: str
    #: Suffixes of the netlist, of what else the router reads, of what it writes, of the bitstream.
    netlist: str
    constraints: str
    routed: str
    bitstream: str
    #: More options of the router.
    options: Sequence[str] = ()
    #: Whether the router learns the machine's clock from the circuit that makes it; it is told
    #: otherwise.
    derives_clock: bool = True
    #: Options of Amaranth's plan.
    overrides: Mapping[str, Any] = field(default_factory=dict)
    #: What is counted by module, in the order of a table.
    counted: Sequence[str]
    #: The router's names of what is placed for each of `luts`, `flip_flops`, `multipliers` and
    #: `block_rams`; they add up.
    placed: Mapping[str, Sequence[str]]

    @property
    def tools(self) -> tuple[str, str, str]:
        """All tools, in the order of their use."""
        return ("yosys", self.router, self.packer)

    def resources(self, report: Mapping[str, Any]) -> dict[str, int]:
        """Return what is placed of each resource, from the router's report."""
        utilization = report["utilization"]
        return {
            resource: sum(utilization.get(name, {"used": 0})["used"] for name in names)
            for resource, names in self.placed.items()
        }
