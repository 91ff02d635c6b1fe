import builtins
import json
import shutil

import glassllm
import numpy as np
import pytest
import tokenizers
from checkpoints import write
from checkpoints_decoder import (
    GLASS,
    LLAMA,
    glass_tensors,
    llama_tensors,
    write_gguf,
    write_glass,
)

from celosia.compiler.checkpoint import locate
from celosia.compiler.datasets_text import alice_page
from celosia.compiler.text import load_codec
from celosia.compiler.text_merges import merge
from celosia.errors import ModelError

CHARACTERS = {"<pad>": 0, "<s>": 1, "</s>": 2, "1": 3, "+": 4, "=": 5, " ": 6}
SPECIAL = {"bos_token": "<s>", "eos_token": {"content": "</s>"}, "pad_token": "<pad>"}


def refused(message: str, model, text: str | None = None) -> None:
    with pytest.raises(ModelError, match=message):
        codec = load_codec(model)
        if text is not None:
            codec.encode(text)


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "tiny", llama_tensors(), LLAMA | {"eos_token_id": 2})


@pytest.fixture
def characters(folder):
    (folder / "vocab.json").write_text(json.dumps(CHARACTERS))
    (folder / "special_tokens_map.json").write_text(json.dumps(SPECIAL))
    return folder


def test_characters(characters):
    codec = load_codec(characters)
    assert codec.encode("1+1 =") == [3, 4, 3, 6, 5]
    assert codec.decode([1, 3, 4, 0, 3, 2]) == "1+1"
    assert codec.encode("") == [] and codec.stop == {2}


def test_mathformer():
    for name in ("add", "sub", "mul", "div"):
        codec = load_codec(f"mathformer-{name}")
        assert codec.encode("7+8=") == [11, 14, 12, 18] and codec.stop == {2}
        assert codec.decode([25, 7, 26, 5, 2]) == "Q3R1"
    refused(r"vocab\.json: character 'x' is not in the vocabulary; it has '0123456789\+.*QR'$",
            "mathformer-div", "7x8")  # fmt: skip
    refused(r"character '<' is not in the vocabulary", "mathformer-div", "<s>7")


def test_bad_characters(characters):
    for ids in ([3, 7], [-1]):
        with pytest.raises(
            ModelError, match=rf"vocab\.json: token id must be 0 to 6, not {ids[-1]}"
        ):
            load_codec(characters).decode(ids)
    path = characters / "vocab.json"
    path.write_text(json.dumps(CHARACTERS | {"one": 7}))
    refused(
        r"vocab\.json: token 'one' is not a single character; put .*tokenizer\.json", characters
    )
    path.write_text(json.dumps(CHARACTERS | {"2": 6}))
    refused(r"vocab\.json: the ids must be 0 to 7, each once", characters)
    path.write_text("[")
    refused(r"vocab\.json: not readable as JSON", characters)


@pytest.mark.parametrize(
    ("config", "generation", "stop"),
    [
        ({}, None, set()),
        ({"eos_token_id": None}, {}, set()),
        ({"eos_token_id": 2}, {"eos_token_id": [2, 5]}, {2, 5}),
        ({"eos_token_id": [0]}, {"eos_token_id": 1}, {0, 1}),
    ],
)
def test_stop_ids(characters, config, generation, stop):
    (characters / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (characters / "generation_config.json").write_text(json.dumps(generation))
    assert load_codec(characters).stop == stop


def test_bad_stop_id(characters):
    (characters / "config.json").write_text('{"eos_token_id": "</s>"}')
    refused(r"config\.json: eos_token_id must be a token id or a list, not '</s>'", characters)


@pytest.fixture
def words(folder):
    vocabulary = {"[UNK]": 0, "<s>": 1, "</s>": 2, "a": 3, "cat": 4}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    tokenizer.enable_padding(length=9)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_tokenizer_json(words):
    (words / "vocab.json").write_text(json.dumps({"several": 0}))  # of the same tokens: not read
    codec = load_codec(words)
    assert codec.encode("a cat a cat a") == [1, 3, 4, 3, 4, 3] and codec.stop == {2}
    assert codec.decode([1, 3, 4, 2]) == "a cat"
    assert codec.decode(np.array([3, 4])) == "a cat"
    with pytest.raises(ModelError, match=r"tokenizer\.json: token id must be 0 to 4, not 5"):
        codec.decode([3, 5])


def test_bad_tokenizer_json(words, monkeypatch):
    path = words / "tokenizer.json"
    path.rename(words / "kept")
    refused(r"tokenizer\.json: file is missing; text input needs it, token ids do not", words)
    path.write_text("{}")
    refused(r"tokenizer\.json: not readable as a tokenizer", words)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tokenizers":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    refused(r"needs the package tokenizers; run `pip install tokenizers`, or give ids", words)


def test_glass_agrees_with_its_package():
    for name, language, text in (
        ("glassllm", "en", alice_page()),
        ("glassllm", "en", "  The   Queen said,\n\n “Off with   her head!” \n "),
        ("glassllm-pt", "pt", "Não consultes dicionários.\nCapitu  olhou para mim; e eu?"),
        ("glassllm-pt", "pt", "Na\u0303o"),
    ):
        _, theirs = glassllm.load_pretrained(language)
        codec = load_codec(name)
        ids = codec.encode(text)
        assert ids == theirs.encode(text) and codec.decode(ids) == theirs.decode(ids)
        assert max(len(theirs.vocab[i]) for i in ids) > 2 or len(ids) < 4
        assert codec.stop == {theirs.token_to_id["<eos>"]}


def test_glass_text_comes_back():
    codec = load_codec("glassllm")
    assert codec.decode(codec.encode(alice_page())) == alice_page()
    assert codec.decode([2, *codec.encode("Alice "), 3]) == "Alice "
    with pytest.raises(
        ModelError, match=r"en\.tokenizer\.json: token id must be 0 to 1023, not 10"
    ):
        codec.decode([1024])
    refused(r"en\.tokenizer\.json: character '@' is not in the vocabulary; it has .\\n!&.*$",
            "glassllm", "Alice@")  # fmt: skip


def test_bad_glass(tmp_path):
    path = write_glass(tmp_path / "g.npz", glass_tensors(), GLASS)
    own = tmp_path / "g.tokenizer.json"
    refused(r"g\.tokenizer\.json: file is missing", path)
    own.write_text('{"alphabet": ["a"]}')
    refused(r"must have the lists 'alphabet' and 'merges' of glassllm", path)
    own.write_text('{"alphabet": ["a"], "merges": [["a"]]}')
    refused(r"g\.tokenizer\.json: 'merges' must hold pairs of strings", path)
    shutil.copy(locate("glassllm").with_suffix(".tokenizer.json"), own)
    assert load_codec(path).encode("\n") == [4]


def test_merge():
    ranks = {("a", "b"): 2, ("b", "c"): 1, ("a", "bc"): 3, ("x", "x"): 0}
    assert merge("abcab", lambda a, b: ranks.get((a, b))) == ["abc", "ab"]
    assert merge("xxxxx", lambda a, b: ranks.get((a, b))) == ["xx", "xx", "x"]
    assert merge("", lambda a, b: 0) == [] and merge("q", lambda a, b: 0) == ["q"]


TOKENS = [
    *(("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)),
    *((f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)),
    *(("\u2581", -9.0, 1), ("a", -8.0, 1), ("c", -8.5, 1), ("t", -7.0, 1), ("at", -2.0, 1)),
    *(("ca", -1.0, 1), ("cat", -3.0, 1), ("\u2581cat", -4.0, 1), ("\u2581a", -1.5, 4)),
]
IDS = {piece: i for i, (piece, _, _) in enumerate(TOKENS)}


def vocabulary(**changes) -> dict:
    pieces, scores, types = (list(column) for column in zip(*TOKENS, strict=True))
    values = {"model": "llama", "tokens": pieces, "scores": scores, "token_type": types}
    values |= {"bos_token_id": 1, "eos_token_id": 2}
    return {k: v for k, v in (values | changes).items() if v is not None}


def test_gguf_vocabulary(tmp_path):
    path = write_gguf(tmp_path / "m.gguf", llama_tensors(), vocabulary=vocabulary())
    codec = load_codec(path)
    # By score: ▁a first, then ca, then cat; "at" comes too late.
    ids = [1, IDS["\u2581cat"], IDS["\u2581a"], IDS["ca"], IDS["a"]]
    assert codec.encode("cat acaa") == ids
    assert codec.decode(ids) == "cat acaa" and codec.stop == {2}
    accented = [1, IDS["\u2581"], IDS["<0xC3>"], IDS["<0xA9>"]]
    assert codec.encode("é") == accented and codec.decode(accented) == "é"
    assert codec.decode([*accented[:3], 2]) == "\ufffd"
    assert codec.encode("") == [1]
    assert codec.encode("<s>")[1:3] == [IDS["\u2581"], IDS["<0x3C>"]]
    with pytest.raises(ModelError, match=r"m\.gguf: token id must be 0 to 267, not 268"):
        codec.decode([268])


def test_gguf_options(tmp_path):
    changes = {"add_bos_token": False, "add_space_prefix": False, "eot_token_id": 7}
    path = tmp_path / "m.gguf"
    write_gguf(path, llama_tensors(), vocabulary=vocabulary(**changes))
    codec = load_codec(path)
    assert codec.encode("cat at") == [IDS["cat"], IDS["\u2581a"], IDS["t"]]
    assert codec.decode([IDS["\u2581a"]]) == " a" and codec.stop == {2, 7}


def test_bad_gguf_vocabulary(tmp_path, words):
    path, tensors = tmp_path / "m.gguf", llama_tensors()
    plain = {"tokens": ["\u2581", "a"], "scores": [-1.0, -2.0], "token_type": [1, 1]}
    write_gguf(path, tensors, vocabulary=vocabulary(**plain))
    refused(r"m\.gguf: character 'é' is not in the vocabulary; it has 'a '", path, "aé")
    write_gguf(path, tensors, vocabulary=vocabulary(model="gpt2"))
    refused(r"m\.gguf: vocabulary 'gpt2' is not supported; put .*tokenizer\.json beside", path)
    write_gguf(path, tensors)
    refused(r"m\.gguf: vocabulary None is not supported", path)
    write_gguf(path, tensors, vocabulary=vocabulary(scores=[0.0]))
    refused(r"m\.gguf: tokens, scores and token_type must be lists of one length", path)
    write_gguf(path, tensors, vocabulary=vocabulary(tokens=None))
    refused(r"m\.gguf: tokens, scores and token_type must be lists of one length", path)
    shutil.copy(words / "tokenizer.json", tmp_path)
    codec = load_codec(path)
    assert codec.encode("cat") == [1, 4] and codec.stop == {2}
