import os
from pathlib import Path

import pytest

from celosia.atomic import MARKER, atomic_directory, atomic_write
from celosia.errors import CelosiaError, CheckFailed


def names(path):
    return sorted(entry.name for entry in path.iterdir())


def test_write_replaces(tmp_path):
    file = tmp_path / "image.bin"
    atomic_write(file, b"\x00\x01")
    assert file.read_bytes() == b"\x00\x01"
    atomic_write(file, "é\n")
    assert file.read_text(encoding="utf-8") == "é\n"
    assert names(tmp_path) == ["image.bin"]


def test_write_refuses_a_directory_and_keeps_it(tmp_path):
    (tmp_path / "image.bin").mkdir()
    with pytest.raises(CelosiaError, match=r"image\.bin: cannot be written: Is a directory"):
        atomic_write(tmp_path / "image.bin", "new")
    assert names(tmp_path) == ["image.bin"]


def test_failure_keeps_the_earlier_file(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    file = tmp_path / "image.bin"
    atomic_write(file, "old")
    with pytest.raises(UnicodeEncodeError):
        atomic_write(file, "\ud800")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CelosiaError, match=r"image\.bin: cannot be written: No space left"):
        atomic_write(file, "new")
    assert file.read_text() == "old"
    assert names(tmp_path) == ["image.bin"]


def test_write_names_a_missing_folder(tmp_path):
    with pytest.raises(CelosiaError, match=r"cannot be written: No such file or directory"):
        atomic_write(tmp_path / "missing" / "image.bin", "new")


def test_directory_replaces_the_whole_output(tmp_path):
    output = tmp_path / "deep" / "program"
    for name in ("first", "second"):
        with atomic_directory(output) as work:
            assert work.parent == output.parent
            (work / name).write_text(name)
    assert names(output) == [MARKER, "second"]
    assert names(output.parent) == ["program"]


def test_directory_fills_an_empty_one(tmp_path):
    (tmp_path / "program").mkdir()
    with atomic_directory(tmp_path / "program") as work:
        (work / "file").write_text("")
    assert names(tmp_path / "program") == [MARKER, "file"]


def test_failure_keeps_the_earlier_output(tmp_path):
    output = tmp_path / "program"
    with atomic_directory(output) as work:
        (work / "good").write_text("good")
    with pytest.raises(KeyboardInterrupt), atomic_directory(output) as work:
        (work / "bad").write_text("bad")
        raise KeyboardInterrupt
    assert (output / "good").read_text() == "good"
    assert names(tmp_path) == ["program"]


def test_failed_rename_puts_the_earlier_output_back(tmp_path, monkeypatch):
    def rename(source, target, rename=os.rename):
        if (Path(source) / "new").exists():
            raise OSError(28, "No space left on device")
        rename(source, target)

    output = tmp_path / "program"
    with atomic_directory(output) as work:
        (work / "old").write_text("old")
    monkeypatch.setattr(os, "rename", rename)
    with (
        pytest.raises(CelosiaError, match=r"program: cannot be written: No space left"),
        atomic_directory(output) as work,
    ):
        (work / "new").write_text("new")
    assert names(output) == [MARKER, "old"]
    assert names(tmp_path) == ["program"]


def test_errors_of_the_block_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_directory(tmp_path / "program"):
        (tmp_path / "missing").read_text()
    with pytest.raises(CheckFailed, match="no"), atomic_directory(tmp_path / "program"):
        raise CheckFailed("no")
    assert names(tmp_path) == []


def test_directory_of_somebody_else_is_refused(tmp_path):
    (tmp_path / "precious").write_text("mine")
    with (
        pytest.raises(CelosiaError, match=r"holds files that Celosia did not make"),
        atomic_directory(tmp_path),
    ):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["precious"]


def test_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "program").write_text("mine")
    with (
        pytest.raises(CelosiaError, match=r"program: must be a directory, but is a file"),
        atomic_directory(tmp_path / "program"),
    ):
        pytest.fail("the block must not run")
    assert (tmp_path / "program").read_text() == "mine"
