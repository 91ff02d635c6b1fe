import json
import re
from dataclasses import asdict
from hashlib import sha256

import numpy as np
import pytest

from celosia import isa
from celosia.compiler.program import FORMAT, Program, Section, Tensor
from celosia.config import PRESETS
from celosia.errors import CelosiaError, ProgramError
from celosia.isa import Instruction, Opcode, assemble

TINY = PRESETS["tiny"]
IMAGE = assemble([Instruction(Opcode.HALT)]) + bytes(range(64))
FILES = ["host.safetensors", "image.bin", "manifest.json"]


def program(**changes):
    return Program(
        **{
            "config": TINY,
            "model": "some_model",
            "image": IMAGE,
            "sections": (
                Section("program", 0, 64),
                Section("weights", 64, 64),
                Section("in", 128, 96),
                Section("out", 224, 32),
            ),
            "inputs": (Tensor("embeddings", 128, 32, 3, 9, 0.125),),
            "outputs": (Tensor("logits", 224, 8, 3, 2, (0.5, 1 / 3), "int8"),),
            "tokens": 3,
            "host": {
                "words": np.arange(6, dtype=np.float32).reshape(2, 3).T,
                "labels": np.array([1, -2], np.int64),
            },
            "extra": {"pooling": "mean", "layers": [1, 2]},
        }
        | changes
    )


@pytest.fixture
def saved(tmp_path):
    program().save(tmp_path / "p")
    return tmp_path / "p"


def edit(folder, **changes):
    """Change keys of the manifest; None takes one away."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in manifest.items() if v is not None}))


def refused(folder, message):
    with pytest.raises(ProgramError, match=message):
        Program.load(folder)


def test_round_trip(saved):
    before, after = program(), Program.load(saved)
    for name in ("words", "labels"):
        np.testing.assert_array_equal(after.host[name], before.host[name])
        assert after.host[name].dtype == before.host[name].dtype
    for name in Program.__dataclass_fields__:
        if name != "host":
            assert getattr(after, name) == getattr(before, name), name


def test_files_and_manifest(saved):
    assert sorted(p.name for p in saved.iterdir() if not p.name.startswith(".")) == FILES
    assert (saved / "image.bin").read_bytes() == IMAGE
    manifest = json.loads((saved / "manifest.json").read_text())
    assert (manifest["format"], manifest["isa"]) == (FORMAT, isa.VERSION)
    assert manifest["digest"] == TINY.digest().hex()
    assert manifest["config"]["rows"] == 4
    assert manifest["sections"][1] == {"name": "weights", "address": 64, "bytes": 64}
    assert manifest["inputs"][0]["pitch"] == 32
    assert sorted(manifest["sha256"]) == FILES[:2]


def test_saving_is_reproducible_and_replaces(saved):
    before = {name: (saved / name).read_bytes() for name in FILES}
    program(model="other").save(saved)
    assert Program.load(saved).model == "other"
    program().save(saved)
    assert {name: (saved / name).read_bytes() for name in FILES} == before


def test_a_failed_save_leaves_the_earlier_program(saved):
    with pytest.raises(TypeError, match="not JSON serializable"):
        program(model="other", extra={"bad": object()}).save(saved)
    with pytest.raises(ValueError, match="Out of range float"):
        program(model="other", extra={"bad": float("nan")}).save(saved)
    assert Program.load(saved).model == "some_model"
    assert [p.name for p in saved.parent.iterdir()] == ["p"]


def test_foreign_directories_are_kept(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(CelosiaError, match="holds files that Celosia did not make"):
        program().save(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_without_host_arrays(tmp_path):
    program(host={}, extra={}).save(tmp_path / "p")
    assert Program.load(tmp_path / "p").host == {}


def test_window():
    assert program().window_bytes == 256
    assert program(sections=(), inputs=(), outputs=()).window_bytes == 128
    assert program().section("weights") == Section("weights", 64, 64)
    message = "^some_model: no section 'bias'; there are program, weights, in, out$"
    with pytest.raises(ProgramError, match=message):
        program().section("bias")


@pytest.mark.parametrize("name", FILES)
def test_missing_file(saved, name):
    (saved / name).unlink()
    refused(saved, f"p/{re.escape(name)}: missing; a program is a directory")


def test_missing_directory(tmp_path):
    refused(tmp_path / "none", r"none/manifest\.json: missing")


def test_unreadable_file(saved):
    (saved / "image.bin").unlink()
    (saved / "image.bin").mkdir()
    refused(saved, r"image\.bin: cannot be read: Is a directory")


@pytest.mark.parametrize("name", FILES[:2])
@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d[:50] + b"!" + d[51:]])
def test_corrupt_file(saved, name, damage):
    path = saved / name
    path.write_bytes(damage(path.read_bytes()))
    refused(saved, f"p/{re.escape(name)}: corrupt, its checksum is not the manifest's")


def test_damaged_manifest(saved):
    path = saved / "manifest.json"
    path.write_text(path.read_text()[:100])
    refused(saved, r"manifest\.json: not valid JSON: ")
    path.write_text("[]")
    refused(saved, r"manifest\.json: must hold an object, not a list")
    path.write_bytes(b"\xff")
    refused(saved, r"manifest\.json: not valid JSON: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "program format version must be 1, not 2; compile the model again"),
        ({"format": None}, "program format version must be 1, not None"),
        ({"isa": 99}, f"instruction set version must be {isa.VERSION}, not 99; compile"),
        ({"model": None}, "model is missing or of the wrong kind"),
        ({"tokens": True}, "tokens is missing or of the wrong kind"),
        ({"sections": {}}, "sections is missing or of the wrong kind"),
        ({"sections": [{"name": "x"}]}, "sections: .*missing 2 required"),
        ({"inputs": [3]}, "inputs: .*mapping"),
        ({"outputs": [{"names": "x"}]}, "outputs: .*unexpected keyword argument 'names'"),
        (
            {"inputs": [asdict(Tensor("x", 0, 8, 1, 1, 1.0)) | {"dtype": "f"}]},
            "inputs: tensor x: dty",
        ),
        ({"sha256": None}, "sha256 is missing"),
        ({"sha256": {}}, r"image\.bin: corrupt"),
        ({"digest": "00000000"}, f"digest must be {TINY.digest().hex()}, .*, not '00000000'"),
        ({"config": {}}, "config: .*missing"),
        ({"config": TINY.to_dict() | {"depth": 3}}, "config: .*unexpected keyword"),
        ({"config": TINY.to_dict() | {"rows": 5}}, r"manifest\.json: .* rows must be a power"),
        ({"config": TINY.to_dict() | {"rows": 2}}, "digest must be "),
        ({"entry": 65}, r"manifest\.json: entry 0x41 lies outside the image"),
    ],
)
def test_wrong_manifest(saved, changes, message):
    edit(saved, **changes)
    refused(saved, message)


def test_host_arrays_of_another_format(saved):
    (saved / "host.safetensors").write_bytes(b"not that")
    sums = json.loads((saved / "manifest.json").read_text())["sha256"]
    edit(saved, sha256=sums | {"host.safetensors": sha256(b"not that").hexdigest()})
    refused(saved, r"host\.safetensors: cannot be read: ")


def test_check_config():
    program().check_config(TINY)
    program().check_config(TINY.replace(name="renamed"))
    message = (
        "^some_model: made for a machine with scratchpad_words = 2048, not 512; "
        "compile it for configuration 'less'$"
    )
    with pytest.raises(ProgramError, match=message):
        program().check_config(TINY.replace(name="less", scratchpad_words=512, exponent_slots=16))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sections": (Section("b", 63, 200), Section("a", 0, 64))},
            "^section b overlaps section a$",
        ),
        (
            {"inputs": (Tensor("x", 128, 32, 3, 17, 1.0),)},
            "^tensor x does not lie in one section$",
        ),
        ({"outputs": (Tensor("y", 120, 8, 3, 2, 1.0),)}, "^tensor y does not lie"),
        ({"entry": -64}, "^entry -0x40 lies outside the image$"),
        ({"image": b""}, "^entry 0x0 lies outside the image$"),
    ],
)
def test_wrong_program(changes, message):
    with pytest.raises(ProgramError, match=message):
        program(**changes)


def test_wrong_tensor():
    with pytest.raises(ProgramError, match=r'^tensor x: dtype must be "int8" or "int16"$'):
        Tensor("x", 0, 8, 1, 4, 1.0, "int32")
    with pytest.raises(ProgramError, match=r"^tensor x: scale must be one number or 4, not 2$"):
        Tensor("x", 0, 8, 1, 4, (1.0, 2.0))


def test_tensor_ends_after_its_last_element():
    assert Tensor("x", 100, 32, 3, 5, 1.0).end == 100 + 2 * 32 + 10
    assert Tensor("x", 100, 32, 3, 5, 1.0, "int8").end == 100 + 2 * 32 + 5
