# amaranth: UnusedElaboratable=no
"""Boards of all families: their pins, their clocks, what fits them, and how they are loaded."""

import importlib.resources
import json
import re

import pytest
from stand_in import StandIn

from celosia.cli import app
from celosia.config import PRESETS
from celosia.errors import ConfigError
from celosia.platforms.boards import BOARDS, board
from celosia.platforms.fit import check_fit
from celosia.platforms.gowin import GW1NR9, GW2AR18
from celosia.platforms.gowin_pll import solve_pll as solve_gowin
from celosia.platforms.ice40_pll import solve_pll as solve_ice40

COMMENT = re.compile(r"^(#|//).*")
#: A port and its pin, in the languages of all families.
PLACE = re.compile(r'(?:LOCATE COMP|IO_LOC|set_io) "?([^" ]+)"? (?:SITE "?)?([A-Z]*\d+)')


def lines(text):
    """Return what a file of constraints says, without comments."""
    return [line.strip() for line in text.splitlines() if line and not COMMENT.match(line)]


@pytest.mark.parametrize("name", BOARDS)
def test_pins_are_those_of_the_constraint_files(name):
    platform = board(name)
    assert platform.default_clk_frequency == 1e6 * platform.reference
    suffix = platform.flow.constraints
    top = platform.top(StandIn(), platform.frequency)
    plan = platform.prepare(top, name="top", emit_src=False, **platform.flow.overrides)
    written = plan.files[f"top.{suffix}"]
    written = written.decode() if isinstance(written, bytes) else written
    folder = importlib.resources.files("celosia.constraints")
    assert lines(written) == lines((folder / f"{name}.{suffix}").read_text())
    # Clock, both lines, the button if there is one, and two or three LEDs, each at its own pin.
    places = dict(PLACE.findall(written))
    leds = [port for port in places if "led" in port]
    assert len(leds) == (2 if name == "icebreaker" else 3)
    assert len(places) == len(set(places.values())) == 3 + (platform.button is not None) + len(leds)


@pytest.mark.parametrize(
    ("name", "places"),
    [
        # As the makers' examples have them, which were written by others than the package.
        ("tang-nano-20k", {"clk27_0__io": "4", "uart_0__rx__io": "70", "uart_0__tx__io": "69"}),
        ("tang-nano-9k", {"clk27_0__io": "52", "uart_0__rx__io": "18", "uart_0__tx__io": "17"}),
        ("icebreaker", {"clk12_0__io": "35", "uart_0__rx__io": "6", "uart_0__tx__io": "9"}),
        ("orangecrab-25f", {"clk_0__io": "A9", "uart_0__rx__io": "N17", "uart_0__tx__io": "M18"}),
        ("butterstick", {"clk30_0__io": "B12", "uart_0__rx__io": "C12", "led_green_0__io": "U1"}),
        ("ulx3s-85f", {"clk25_0__io": "G2", "uart_0__rx__io": "M1", "uart_0__tx__io": "L4"}),
    ],
)
def test_pins_of_clock_and_line(name, places):
    folder = importlib.resources.files("celosia.constraints")
    text = (folder / f"{name}.{board(name).flow.constraints}").read_text()
    assert places.items() <= dict(PLACE.findall(text)).items()


def test_every_constraint_file_is_of_a_board():
    folder = importlib.resources.files("celosia.constraints")
    files = {path.name for path in folder.iterdir() if path.suffix in (".lpf", ".pcf", ".cst")}
    assert files == {f"{name}.{kind.flow.constraints}" for name, kind in BOARDS.items()}


def test_boards_are_listed(capsys, tmp_path):
    assert app.run(["boards", "--json", str(tmp_path / "boards.json")]) == 0
    record = json.loads((tmp_path / "boards.json").read_text())["boards"]
    assert [one["name"] for one in record] == list(BOARDS)
    fitting = {one["name"]: set(one["presets"]) for one in record}
    assert {"tiny", "ulx3s"} <= fitting["ecpix5-85f"] and "ulx3s" not in fitting["ulx3s-45f"]
    for small in ("tang-nano-20k", "tang-nano-9k"):
        assert not fitting[small]
    assert fitting["icebreaker"] == {"micro"}
    for small in ("ulx3s-12f", "ulx3s-25f", "orangecrab-25f", "icepi-zero", "icesugar-pro"):
        assert fitting[small] == {"mini"}
    reasons = {one["name"]: one["no_preset_fits"] for one in record}
    assert reasons["ecpix5-85f"] is None
    small = reasons["tang-nano-20k"]
    assert re.fullmatch(r"no preset fits: needs 2\d,\d{3} LUTs, has 20,736", small)
    assert "ecpix5-85f" in capsys.readouterr().out


def test_even_the_smallest_machine_is_too_large_for_a_small_chip():
    smallest = PRESETS["tiny"].replace(rows=2, vector_lanes=1, on_chip_bytes=4096)
    message = (
        r"^configuration 'tiny' needs at least 22,000 LUTs and 16,000 flip-flops, but board "
        r"tang-nano-20k has 20,736 and 15,552; even the smallest machine does; `--core systolic` "
        r"builds an array alone$"
    )
    with pytest.raises(ConfigError, match=message):
        check_fit(smallest, board("tang-nano-20k"))
    with pytest.raises(ConfigError, match=r"has 5,280 and 5,280; the preset micro fits$"):
        check_fit(smallest, board("icebreaker"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"on_chip_bytes": 1 << 17}, "on_chip_bytes must be at most 65536 on board icebreaker"),
        ({"flash_offset": 1 << 16}, "flash_offset must be at least 131072 on board icebreaker"),
        ({"flash_part": "IS25LP128"}, "flash_part must be one of W25Q128 on board icebreaker"),
    ],
)
def test_what_a_microprogrammed_machine_needs_of_a_board(change, message):
    with pytest.raises(ConfigError, match=message):
        check_fit(PRESETS["micro"].replace(**change), board("icebreaker"))


@pytest.mark.parametrize("frequency", [16, 20, 24, 30, 48, 60])
def test_clock_of_an_ice40(frequency):
    settings = solve_ice40(12, frequency)
    assert settings.output == pytest.approx(frequency, rel=0.01)
    assert 533 <= settings.oscillator <= 1066
    assert settings.output == 12 * settings.feedback_divisor / (
        settings.reference_divisor * 2**settings.output_log
    )
    # From 10 to below 17 MHz, which 12 MHz only are undivided.
    assert (settings.reference_divisor, settings.filter_range) == (1, 1)


@pytest.mark.parametrize("chip", [GW1NR9, GW2AR18])
@pytest.mark.parametrize("frequency", [13.5, 27, 40, 54, 81, 100, 108])
def test_clock_of_a_gowin_chip(frequency, chip):
    settings = solve_gowin(27, frequency, chip.pll_limits)
    assert settings.output == pytest.approx(frequency, rel=0.015)
    assert settings.output == 27 * settings.feedback_divisor / settings.reference_divisor
    oscillator = settings.output * settings.output_divisor
    assert chip.pll_limits.oscillator[0] <= oscillator <= chip.pll_limits.oscillator[1]
    assert settings.detector >= 3


def test_clocks_out_of_reach():
    with pytest.raises(ConfigError, match=r"^clock must be between 16 and 275 MHz, not 12$"):
        board("icebreaker").clocks(12)
    with pytest.raises(ConfigError, match=r"^clock must be between 3.125 and 600 MHz, not 601$"):
        board("tang-nano-9k").clocks(601)
    with pytest.raises(ConfigError, match=r"^reference clock must be between 10 and 133 MHz"):
        solve_ice40(5, 24)


@pytest.fixture
def loader(tmp_path, monkeypatch):
    """A stand-in on PATH that writes its arguments down, and ends with the status it is told."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "openFPGALoader"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/said\nexit ${{STATUS:-0}}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return tmp_path / "said"


def built(folder, board_name, bitstream):
    """A folder as `synthesize` writes it."""
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps({"board": board_name, "bitstream": bitstream}))
    (folder / bitstream).write_bytes(b"bits")
    return folder


@pytest.mark.parametrize(
    ("name", "suffix", "options"),
    [
        ("ulx3s-85f", "bit", ["-b", "ulx3s"]),
        ("ecpix5-45f", "bit", ["-b", "ecpix5"]),
        ("orangecrab-85f", "bit", ["-b", "orangeCrab"]),
        ("tang-nano-20k", "fs", ["-b", "tangnano20k"]),
        ("tang-nano-9k", "fs", ["-b", "tangnano9k"]),
        ("icebreaker", "bin", ["-b", "ice40_generic"]),
    ],
)
def test_loads_what_was_built(name, suffix, options, loader, tmp_path):
    folder = built(tmp_path / "a build", name, f"tiny.{suffix}")
    file = str(folder / f"tiny.{suffix}")
    assert app.run(["program", name, str(folder)]) == 0
    assert loader.read_text().splitlines() == [*options, file]
    assert app.run(["program", name, file, "--flash"]) == 0
    assert loader.read_text().splitlines() == [*options, "--write-flash", file]


def test_a_dry_run_only_says_what_it_would_do(loader, tmp_path, capsys, monkeypatch):
    folder = built(tmp_path / "a build", "ulx3s-85f", "tiny.bit")
    monkeypatch.setenv("PATH", "")  # nor does it need the program
    assert app.run(["program", "ulx3s-85f", str(folder), "--dry-run"]) == 0
    assert capsys.readouterr().out == f"openFPGALoader -b ulx3s '{folder}/tiny.bit'\n"
    assert not loader.exists()


def refused(arguments, capsys):
    """Run a command that fails; return what it says."""
    assert app.run(arguments) != 0
    return " ".join(capsys.readouterr().err.split())


def test_what_cannot_be_loaded(loader, tmp_path, capsys):
    folder = built(tmp_path / "build", "ulx3s-85f", "tiny.bit")
    said = refused(["program", "ecpix5-85f", str(folder)], capsys)
    assert said.endswith("was built for board ulx3s-85f, not ecpix5-85f; build it for that")
    said = refused(["program", "tang-nano-20k", str(folder / "tiny.bit")], capsys)
    assert said.endswith("tiny.bit: those of board tang-nano-20k end with .fs, not .bit")
    said = refused(["program", "ulx3s-85f", str(tmp_path / "programs")], capsys)
    assert "has no report.json that names a bitstream" in said
    (folder / "tiny.bit").unlink()
    said = refused(["program", "ulx3s-85f", str(folder)], capsys)
    assert "tiny.bit is not there; build it with" in said
    (tmp_path / "other.bit").write_bytes(b"bits")
    said = refused(["program", "icesugar-pro", str(tmp_path / "other.bit")], capsys)
    assert "board icesugar-pro is none that openFPGALoader knows" in said
    assert not loader.exists()


def test_a_loader_that_is_missing_or_fails(loader, tmp_path, capsys, monkeypatch):
    folder = built(tmp_path / "build", "ulx3s-85f", "tiny.bit")
    monkeypatch.setenv("STATUS", "3")
    said = refused(["program", "ulx3s-85f", str(folder)], capsys)
    assert said == (
        "error: openFPGALoader failed with status 3; is board ulx3s-85f connected, and may you "
        "use its USB device?"
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refused(["program", "ulx3s-85f", str(folder)], capsys)
    assert said.startswith("error: openFPGALoader was not found; install it (Debian: apt-get")
