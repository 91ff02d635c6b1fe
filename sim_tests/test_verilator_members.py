"""The order in which a simulation keeps its signals."""

from celosia.runtime.verilator_members import sort_members

HEADER = """class Vtop___024root final {
    struct {
        VL_IN8(clk,0,0);
        CData/*7:0*/ top__DOT__lane_10__DOT__a;
        CData/*7:0*/ top__DOT__lane_10__DOT__b;
        IData/*31:0*/ top__DOT__sum_10;
    };
    struct {
        CData/*7:0*/ top__DOT__lane_2__DOT__a;
        VlUnpacked<CData/*7:0*/, 4> top__DOT__memory;
        CData/*7:0*/ top__DOT__lane_2__DOT__b;
        IData/*31:0*/ top__DOT__sum_2;
    };
};
"""


def test_signals_of_lanes_stand_side_by_side():
    members = ["lane_2__DOT__a", "lane_10__DOT__a", "lane_2__DOT__b", "lane_10__DOT__b"]
    members += ["sum_2", "sum_10"]
    lines = sort_members(HEADER).splitlines()
    places = [next(i for i, line in enumerate(lines) if f"__{name};" in line) for name in members]
    assert places == [3, 4, 5, 8, 10, 11]


def test_nothing_else_moves():
    before, after = HEADER.splitlines(), sort_members(HEADER).splitlines()
    assert sorted(before) == sorted(after)
    kept = [i for i, line in enumerate(before) if "__lane_" not in line and "__sum_" not in line]
    assert [before[i] for i in kept] == [after[i] for i in kept]
    assert sort_members("\n".join(after) + "\n") == "\n".join(after) + "\n"
