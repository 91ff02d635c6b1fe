"""Places of an array's multipliers: the sites of the boards, and who lies beside whom."""

from itertools import pairwise

import pytest

from celosia.platforms.boards import BOARDS, board
from celosia.platforms.floorplan import MultiplierSites, place_arrays

#: Path of the first array in the netlists here.
ARRAY = "machine.array_0."


def netlist(*sizes):
    """Return a netlist with arrays of these rows and columns, and another multiplier."""
    names = [
        f"machine.array_{index}.pe_{row}_{column}.multiplier.cell"
        for index, (rows, columns) in enumerate(sizes)
        for row in range(rows)
        for column in range(columns)
    ]
    names.append("machine.requantiser.lane_0.multiplier.upper.cell")
    cells = {name: {"type": "MULT18X18D", "attributes": {}} for name in names}
    return {"modules": {"top": {"ports": {}, "cells": cells}}}


def places(design):
    """Return the site of each cell that has one, by the cell's name."""
    cells = design["modules"]["top"]["cells"].items()
    return {name: cell["attributes"]["BEL"] for name, cell in cells if cell["attributes"]}


@pytest.mark.parametrize("name", [name for name in BOARDS if BOARDS[name].multiplier_sites])
def test_boards_know_all_their_sites(name):
    sites = board(name).multiplier_sites
    names = [site for index in range(len(sites.lines)) for site in sites.line(index)]
    assert len(set(names)) == len(names) == board(name).multipliers


def test_names_are_those_of_nextpnr():
    # As nextpnr reports where it has placed as many multipliers as the chip has.
    line = board("ulx3s-85f").multiplier_sites.line(1)
    assert line[:5] == [
        "X4/Y34/MULT18_0",
        "X5/Y34/MULT18_1",
        "X8/Y34/MULT18_4",
        "X9/Y34/MULT18_5",
        "X13/Y34/MULT18_0",
    ]
    assert line[-1] == "X119/Y34/MULT18_5"


@pytest.mark.parametrize(("rows", "columns", "lines"), [(16, 8, 3), (4, 4, 1), (8, 8, 2)])
def test_sums_flow_between_neighbours(rows, columns, lines):
    sites = board("ulx3s-85f").multiplier_sites
    design = netlist((rows, columns))
    assert place_arrays(design, sites) == {ARRAY: rows * columns}
    found = places(design)
    assert len(found) == len(set(found.values())) == rows * columns
    order = {site: (line, i) for line in range(3) for i, site in enumerate(sites.line(line))}
    widest = -(-columns // lines)
    for column in range(columns):
        way = [
            order[found[f"machine.array_0.pe_{r}_{column}.multiplier.cell"]] for r in range(rows)
        ]
        for (line, place), (next_line, next_place) in pairwise(way):
            assert line == next_line
            assert 0 < next_place - place <= widest
    assert {order[site][0] for site in found.values()} == set(range(lines))


def test_an_array_without_room_is_left_to_the_placer():
    sites = MultiplierSites((13,), (4, 13))
    design = netlist((4, 4))
    assert place_arrays(design, sites) == {ARRAY: 0}
    assert places(design) == {}


def test_arrays_have_lines_of_their_own():
    sites = board("ulx3s-85f").multiplier_sites
    design = netlist((16, 3), (16, 6), (4, 4))
    assert list(place_arrays(design, sites).values()) == [16 * 3, 16 * 6, 0]
    lines = {(name.split(".")[1], site.split("/")[1]) for name, site in places(design).items()}
    assert lines == {("array_0", "Y10"), ("array_1", "Y34"), ("array_1", "Y58")}


def enabled(rows, columns, enable):
    """Return the netlist of an array whose elements have an enable each, and a constant one."""
    design = netlist((rows, columns))
    for name, cell in design["modules"]["top"]["cells"].items():
        cell["connections"] = {"CE0": ["1"], "CE1": ["1"]}
        cell["port_directions"] = dict.fromkeys(cell["connections"], "input")
        if ".pe_" in name:
            row, column = map(int, name.split(".pe_")[1].split(".")[0].split("_"))
            cell["connections"]["CE1"] = [enable(row, column)]
    return design


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (8, 8), (16, 8), (8, 5)])
def test_a_block_has_no_more_enables_than_it_can_have(rows, columns):
    sites = board("ulx3s-85f").multiplier_sites
    design = enabled(rows, columns, lambda row, column: row + column)
    assert place_arrays(design, sites) == {ARRAY: rows * columns}
    order = {site: (line, i // 4) for line in range(3) for i, site in enumerate(sites.line(line))}
    blocks = {}
    for name, site in places(design).items():
        connections = design["modules"]["top"]["cells"][name]["connections"]
        blocks.setdefault(order[site], set()).update(connections["CE0"] + connections["CE1"])
    assert max(map(len, blocks.values())) <= 4


def test_columns_follow_each_other_where_rows_have_too_many_enables():
    design = enabled(2, 4, lambda row, column: row + column)
    assert place_arrays(design, board("ulx3s-25f").multiplier_sites) == {ARRAY: 8}
    assert places(design)[f"{ARRAY}pe_1_0.multiplier.cell"].startswith("X5/")  # beside 0, 0 in X4


def test_an_array_with_too_many_enables_is_left_to_the_placer():
    design = enabled(4, 4, lambda row, column: 4 * row + column)
    told = []
    assert board("ulx3s-85f").prepare_netlist(design, top="top", progress=told.append)
    assert places(design) == {}
    assert len(told) == 1 and told[0].startswith("machine.array_0: its multipliers, or their")
