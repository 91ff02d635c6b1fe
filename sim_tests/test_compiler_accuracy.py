import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from compiler_runs import agrees_in_any_order, run

from celosia.compiler import compile_model, emit_program, quantise_model
from celosia.compiler.checkpoint import find_minilm, load_model
from celosia.compiler.datasets import CALIBRATION_SENTENCES, digits_heldout
from celosia.compiler.tokens import load_tokenizer
from celosia.config import PRESETS
from celosia.golden.reference import cosine, forward

SCRIPT = Path(__file__).parents[1] / "scripts" / "accuracy_minilm.py"

needs_minilm = pytest.mark.skipif(find_minilm() is None, reason="MiniLM is not installed")


@needs_minilm
def test_minilm():
    model, tokenizer = load_model("minilm"), load_tokenizer("minilm")
    config = PRESETS["bench"]
    # A few samples will do for a test; the script takes all of them.
    samples = [tokenizer.encode(sentence) for sentence in CALIBRATION_SENTENCES[:6]]
    quantised = quantise_model(model, config, samples)
    ids = tokenizer.encode("A man is playing a guitar.")
    program = emit_program(quantised, config, len(ids))
    output, result = run(program, ids)
    exact = forward(model, ids)
    assert cosine(output.pooled, exact["pooled"]) > 0.994
    assert result.saturations == 0
    products = result.mac_rows * config.multipliers
    assert program.extra["macs"] <= products <= 1.1 * program.extra["macs"]
    assert agrees_in_any_order(program, ids, seeds=1)


@needs_minilm
def test_script_writes_records(tmp_path):
    path = tmp_path / "records.json"
    command = [sys.executable, SCRIPT, "--json", path, "--sentences", "1", "--quiet"]
    subprocess.run(command, check=True, capture_output=True)
    records = json.loads(path.read_text())
    names = ["accuracy.minilm.w8.cosine", "accuracy.minilm.w8.cosine_least"]
    assert [record["name"] for record in records] == names
    keys = {"name", "value", "unit", "target", "limit", "config", "how"}
    assert all(set(record) == keys for record in records)
    # Eight bits cannot be exact.
    assert 0.99 < records[0]["value"] < 1


def test_all_held_out_digits():
    model = load_model("digits_vit")
    images, labels = digits_heldout()
    program = compile_model(model, PRESETS["ulx3s"])
    found = np.array([run(program, image)[0].logits.argmax() for image in images])
    exact = np.array([forward(model, image)["logits"].argmax() for image in images])
    # One point of 360 digits is 3.6.
    assert (found == labels).sum() >= (exact == labels).sum() - 3
    assert (exact == labels).mean() > 0.98
