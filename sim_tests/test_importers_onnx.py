import json
import re
import sys

import numpy as np
import onnx
import pytest
from checkpoints import BERT, bert_tensors, write
from checkpoints_onnx import Exporter, save_onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from celosia.compiler.checkpoint import load_model
from celosia.errors import ModelError
from celosia.golden.reference import forward

IDS = np.array([3, 17, 0, 9])
QUERY = "encoder.layer.1.attention.self.query"


def exported(folder, tensors=None, config=BERT, **options):
    """Write a BERT as ONNX with its config.json."""
    graph = Exporter(bert_tensors() if tensors is None else tensors, BERT, **options).graph()
    path = save_onnx(folder / "model.onnx", graph)
    (folder / "config.json").write_text(json.dumps(config))
    return path


def refused(path, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(path)


def changed(path, change) -> None:
    """Change the graph of a file in place."""
    model = onnx.load(str(path))
    change(model.graph)
    onnx.save(model, str(path))


def parts(encoder):
    """List the arrays of a BERT, the projections by their names."""
    arrays = {linear.name: linear.weight for linear in encoder.linears}
    arrays |= {f"{linear.name}.bias": linear.bias for linear in encoder.linears}
    arrays["words"] = encoder.embedding.words
    for block in encoder.blocks:
        for norm in (block.norm1, block.norm2):
            arrays |= {f"{norm.name}.g": norm.gamma, f"{norm.name}.b": norm.beta}
    return arrays


@pytest.mark.parametrize("style", ["matmul", "gemm", "transpose"])
@pytest.mark.parametrize("prefix", ["", "bert.", "model.0.auto_model."])
def test_onnx_is_the_same_model(tmp_path, style, prefix):
    path = exported(tmp_path / "odd", style=style, prefix=prefix)
    encoder = load_model(path.parent)
    assert (encoder.name, encoder.family, encoder.pooling) == ("odd", "bert", "mean")
    expected = parts(load_model(write(tmp_path / "plain", bert_tensors(), BERT)))
    found = parts(encoder)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_onnx_computes_the_same(tmp_path):
    path = exported(tmp_path, style="matmul")
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"input_ids": IDS[None]})
    np.testing.assert_allclose(forward(load_model(path), IDS)["hidden"], expected[0], atol=1e-5)


@pytest.mark.parametrize("dtype", ["f2", "f8"])
def test_other_floats(tmp_path, dtype):
    encoder = load_model(exported(tmp_path, dtype=dtype))
    name = f"{QUERY}.weight"
    weight = parts(encoder)[QUERY]
    assert weight.dtype == np.float32 and weight.flags.c_contiguous
    np.testing.assert_array_equal(weight, bert_tensors()[name].astype(dtype).astype("f4"))


def test_bfloat16(tmp_path):
    path = exported(tmp_path)
    values = bert_tensors()["encoder.layer.0.output.LayerNorm.weight"]
    raw = (values.view(np.uint32) >> 16).astype("<u2").tobytes()

    def change(graph):
        (at,) = (
            t for t in graph.initializer if t.name == "encoder.layer.0.output.LayerNorm.weight"
        )
        at.CopyFrom(helper.make_tensor(at.name, TensorProto.BFLOAT16, [27], raw, raw=True))

    changed(path, change)
    gamma = load_model(path).blocks[0].norm2.gamma
    np.testing.assert_allclose(gamma, values, rtol=2**-7)


def test_equal_parameters_are_stored_once(tmp_path):
    tensors = bert_tensors()
    tensors = {k: np.zeros_like(v) if k.endswith("bias") else v for k, v in tensors.items()}
    for kind in ("weight", "bias"):
        first = tensors[f"encoder.layer.0.intermediate.dense.{kind}"]
        tensors[f"encoder.layer.1.intermediate.dense.{kind}"] = first
    for style in ("matmul", "gemm", "transpose"):
        path = exported(tmp_path, tensors, shared=True, style=style)
        assert [n.op_type for n in onnx.load(str(path)).graph.node].count("Identity") > 9
        found = parts(load_model(path))
        for name, array in found.items():
            if f"{name}.weight" in tensors:
                np.testing.assert_array_equal(array, tensors[f"{name}.weight"], err_msg=name)


def test_constant_nodes(tmp_path):
    """Some exporters write renamed weights as nodes."""
    path = exported(tmp_path)

    def change(graph):
        for tensor in [t for t in graph.initializer if "MatMul" in t.name]:
            graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
            graph.initializer.remove(tensor)

    changed(path, change)
    np.testing.assert_array_equal(parts(load_model(path))[QUERY], bert_tensors()[f"{QUERY}.weight"])


def test_config_in_the_folder_above(tmp_path):
    path = exported(tmp_path / "model" / "onnx")
    (tmp_path / "model" / "1_Pooling").mkdir()
    pooling = tmp_path / "model" / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"pooling_mode_cls_token": True}))
    (path.parent / "config.json").rename(tmp_path / "model" / "config.json")
    assert load_model(path).pooling == "cls"
    (tmp_path / "model" / "config.json").unlink()
    refused(path, r"onnx/config\.json: file is missing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["RobertaModel"]}, r"'RobertaModel' is not supported: no importer"),
        ({"num_hidden_layers": 3}, r"model\.onnx: tensor 'encoder\.layer\.2\..*' is missing"),
        ({"num_hidden_layers": 1}, r"unsupported layer: tensor 'encoder\.layer\.1\."),
        ({"intermediate_size": 42}, r"dense\.weight' has shape \(41, 27\), .* makes it \(42, 27\)"),
        ({"vocab_size": 18}, r"word_embeddings\.weight' has shape \(19, 27\)"),
    ],
)
def test_bad_config(tmp_path, changes, message):
    refused(exported(tmp_path, config=BERT | changes), message)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite(tmp_path, value):
    tensors = bert_tensors()
    tensors[f"{QUERY}.weight"][3, 5] = value
    refused(exported(tmp_path, tensors), rf"{re.escape(QUERY)}\.weight' holds 1 NaN .* \[3, 5\]")


@pytest.mark.parametrize("size", [0, 30, 5000, -1])
def test_truncated(tmp_path, size):
    path = exported(tmp_path)
    path.write_bytes(path.read_bytes()[:size])
    refused(
        path, r"model\.onnx: truncated or not ONNX \(.*\); the file has \d+ bytes; copy it again"
    )


def test_weights_in_another_file(tmp_path):
    path = exported(tmp_path)
    model = onnx.load(str(path))
    onnx.save(model, str(path), save_as_external_data=True, location="w.bin", size_threshold=0)
    np.testing.assert_array_equal(parts(load_model(path))[QUERY], bert_tensors()[f"{QUERY}.weight"])
    (tmp_path / "w.bin").unlink()
    refused(path, r"model\.onnx: truncated or not ONNX \(.*\).*with the files of its weights")


def test_integer_weights(tmp_path):
    path = exported(tmp_path)

    def change(graph):
        (at,) = (t for t in graph.initializer if t.name == f"{QUERY}.bias")
        at.CopyFrom(numpy_helper.from_array(np.ones(27, np.int8), at.name))

    changed(path, change)
    refused(path, rf"tensor '{re.escape(QUERY)}\.bias' is stored as INT8; weights must be FLOAT,")


@pytest.mark.parametrize(
    ("operator", "domain", "message"),
    [
        ("MatMulInteger", "", r"operator MatMulInteger is not supported: weights must be floats"),
        ("DequantizeLinear", "", r"DequantizeLinear .* export the model without quantisation"),
        ("DynamicQuantizeLinear", "", r"operator DynamicQuantizeLinear is not"),
        ("QLinearMatMul", "", r"operator QLinearMatMul is not"),
        (
            "Attention",
            "com.microsoft",
            r"operator com\.microsoft\.Attention is .*without optimisations",
        ),
    ],
)
def test_unsupported_operators(tmp_path, operator, domain, message):
    path = exported(tmp_path)
    node = helper.make_node(operator, ["a", "b", "c", "d"], ["e"], domain=domain)
    changed(path, lambda graph: graph.node.append(node))
    refused(path, rf"model\.onnx: {message}" if operator != "DequantizeLinear" else message)


def test_nameless_weight(tmp_path):
    path = exported(tmp_path)

    def change(graph):
        (bias,) = (n for n in graph.node if n.op_type == "Add" and f"{QUERY}.bias" in n.input)
        bias.op_type = "Sub"

    changed(path, change)
    refused(path, r"weight 'onnx::MatMul_\d+' \[27, 27\] of MatMul '' is not followed by a bias")


@pytest.mark.parametrize("attribute", [{"alpha": 2.0}, {"beta": 0.5}, {"transA": 1}])
def test_gemm_variants(tmp_path, attribute):
    path = exported(tmp_path, style="gemm")

    def change(graph):
        gemm = next(n for n in graph.node if n.op_type == "Gemm")
        ((key, value),) = attribute.items()
        gemm.attribute.append(helper.make_attribute(key, value))

    changed(path, change)
    refused(path, r"model\.onnx: Gemm '' scales or transposes its input")


def test_gemm_without_transposition(tmp_path):
    path = exported(tmp_path, style="gemm")

    def change(graph):
        gemm = next(n for n in graph.node if n.op_type == "Gemm" and f"{QUERY}.bias" in n.input)
        del gemm.attribute[:]
        (at,) = (t for t in graph.initializer if t.name == f"{QUERY}.weight")
        turned = np.ascontiguousarray(numpy_helper.to_array(at).T)
        at.CopyFrom(numpy_helper.from_array(turned, at.name))

    changed(path, change)
    np.testing.assert_array_equal(parts(load_model(path))[QUERY], bert_tensors()[f"{QUERY}.weight"])


def test_package_missing(tmp_path, monkeypatch):
    path = exported(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)
    refused(path, r"model\.onnx: needs the package onnx; run `pip install onnx`")
