"""Writes the tables of measured figures in README.md from the records of the benchmarks.

A table stands between `<!-- figures: PREFIX … -->` and `<!-- end -->`: one line for each record
whose name begins with one of the prefixes, in the order of the records. Between
`<!-- modules: NAME -->` and `<!-- end -->` stand the modules of that record with what each takes,
the largest first. Between `<!-- bitstreams: PREFIX -->` and `<!-- end -->` stands a line for each
bitstream. Between `<!-- netlists: PREFIX -->` and `<!-- end -->` stands a line for each core, with
what its benches said on the netlist of each family. Without records for a table it stays as it is.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celosia.atomic import atomic_write
from celosia.errors import CelosiaError

ROOT = Path(__file__).parents[1]
TABLE = re.compile(
    r"(<!-- (?P<kind>figures|modules|bitstreams|netlists): (?P<names>[^>]*?) -->\n).*?<!-- end -->",
    re.DOTALL,
)
#: A module with less than this share of everything is one of the others.
SMALL = 0.025


def read_records(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Read the records of the benchmarks, a list in each file."""
    records = []
    for path in paths:
        try:
            records += json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise CelosiaError(f"{path}: not a file of records: {error}") from error
    return records


def value(number: float | None, unit: str) -> str:
    """Write a figure with the digits that mean something."""
    if number is None:
        return "-"
    if unit in ("1", "", "share", "ratio") and abs(number) <= 1:
        return f"{number:.4g}"
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def table(records: Sequence[dict[str, Any]]) -> str:
    """Return the table of some records as Markdown."""
    lines = ["| figure | measured | target | limit | unit | machine | command |"]
    lines.append("| --- | ---: | ---: | ---: | --- | --- | --- |")
    for record in records:
        figures = (value(record[key], record["unit"]) for key in ("value", "target", "limit"))
        cells = [f"`{record['name']}`", *figures, record["unit"], str(record["config"])]
        cells.append(f"`{record['how']}`")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def module_table(modules: dict[str, dict[str, int]]) -> str:
    """Return the table of what the modules take as Markdown."""
    kinds = ("LUT", "FF", "MULT18X18D", "DP16KD")
    least = {kind: SMALL * sum(taken[kind] for taken in modules.values()) for kind in kinds}
    rows, others = {}, Counter()
    for name, taken in sorted(modules.items(), key=lambda item: -item[1]["LUT"]):
        if any(taken[kind] > least[kind] for kind in kinds):
            rows[f"`{name}`"] = taken
        else:
            others.update(taken)
    rows["all others"] = others
    lines = [f"| module | {' | '.join(kinds)} |", f"| --- |{' ---: |' * len(kinds)}"]
    for name, taken in rows.items():
        lines.append(f"| {name} | {' | '.join(f'{taken[kind]:,}' for kind in kinds)} |")
    return "\n".join(lines) + "\n"


def bitstream_table(records: Sequence[dict[str, Any]]) -> str:
    """Return the table of bitstreams as Markdown; all figures but the seconds are of the chip."""
    keys = ("luts", "flip_flops", "multipliers", "block_rams")
    heads = ("board", "built", "LUT", "FF", "mult", "RAM", "MHz", "peak GOP/s", "per mult", "s")
    lines = [f"| {' | '.join(heads)} |", f"| --- | --- |{' ---: |' * (len(heads) - 2)}"]
    for record in records:
        figures = [f"{record[key]:,}" for key in keys]
        figures += [f"{record['value']:.1f}", f"{record['peak_gops']:.2f}"]
        figures += [f"{record['gops_per_multiplier']:.3f}", f"{record['seconds']:,.0f}"]
        lines.append(f"| {record['board']} | {record['built']} | {' | '.join(figures)} |")
    return "\n".join(lines) + "\n"


def netlist_table(records: Sequence[dict[str, Any]]) -> str:
    """Return the table of netlists as Markdown: of each the verdict, its cells, and faults seen."""
    found: dict[str, dict[str, str]] = {}
    for record in records:
        _, family, core = record["name"].split(".", 2)
        verdict = "equal" if record["value"] == 1 else "**wrong**"
        cells = f"{sum(record['cells'].values()):,}"
        caught = f"{record.get('caught', 0)}/{record.get('faults', 0)}"
        found.setdefault(core, {})[family] = f"{verdict}, {cells}, {caught}"
    families = sorted({family for row in found.values() for family in row})
    lines = [f"| core | {' | '.join(families)} |", f"| --- |{' --- |' * len(families)}"]
    for core, row in found.items():
        cells = " | ".join(row.get(family, "-") for family in families)
        lines.append(f"| `{core}` | {cells} |")
    return "\n".join(lines) + "\n"


def rewrite(text: str, records: Sequence[dict[str, Any]]) -> str:
    """Return `text` with its tables written anew."""

    def replace(found: re.Match[str]) -> str:
        names = tuple(found["names"].split())
        chosen = [record for record in records if record["name"].startswith(names)]
        if not chosen:
            return found[0]
        match found["kind"]:
            case "figures":
                new = table(chosen)
            case "bitstreams":
                new = bitstream_table(chosen)
            case "netlists":
                new = netlist_table(chosen)
            case _:
                new = module_table(chosen[0]["modules"])
        return f"{found[1]}{new}<!-- end -->"

    return TABLE.sub(replace, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", nargs="*", type=Path, help="JSON files; build/bench/*.json")
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    arguments = parser.parse_args()
    paths = arguments.records or sorted((ROOT / "build" / "bench").glob("*.json"))
    if not paths:
        raise CelosiaError("no records; run `make bench` first, or name files")
    try:
        text = arguments.readme.read_text()
    except OSError as error:
        raise CelosiaError(f"{arguments.readme}: cannot be read: {error.strerror}") from error
    atomic_write(arguments.readme, rewrite(text, read_records(paths)))


if __name__ == "__main__":
    try:
        main()
    except CelosiaError as error:
        sys.exit(f"error: {error}")
