"""A BERT in ONNX, built as torch's exporters build it, with onnx's own writer."""

import math
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Exporter:
    """Writes the graph of a BERT node by node, from the tensors of its state dict.

    Parameters
    ----------
    tensors : dict
        State dict of `checkpoints.bert_tensors`.
    config : dict
        Its configuration.
    style : {"matmul", "gemm", "transpose"}
        How a linear layer is written: its weight transposed under another name, by Gemm on rows
        made flat, or behind a Transpose.
    prefix : str
        In front of every parameter's name.
    shared : bool
        Equal parameters are kept once, the others come from an Identity.
    dtype : dtype
        Type of the parameters.
    """

    def __init__(self, tensors, config, *, style="matmul", prefix="", shared=False, dtype="f4"):
        self.tensors, self.config, self.style = tensors, config, style
        self.prefix, self.shared, self.dtype = prefix, shared, np.dtype(dtype)
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.first: dict[bytes, str] = {}
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, name, values):
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(np.asarray(values), name)
        return name

    def parameter(self, name):
        full, values = self.prefix + name, self.tensors[name].astype(self.dtype)
        twin = self.first.setdefault(values.tobytes(), full)
        if self.shared and twin != full:
            if all(full not in node.output for node in self.nodes):
                self.nodes.append(helper.make_node("Identity", [twin], [full]))
            return full
        return self.constant(full, values)

    def add(self, kind, *inputs, **attributes):
        name = f"/{kind}_{len(self.nodes)}_output_0"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def linear(self, x, name):
        bias = self.parameter(f"{name}.bias")
        weight = self.tensors[f"{name}.weight"].astype(self.dtype)
        if self.style == "matmul":
            turned = self.constant(f"onnx::MatMul_{len(self.nodes)}", weight.T.copy())
            return self.add("Add", bias, self.add("MatMul", x, turned))
        weight = self.parameter(f"{name}.weight")
        if self.style == "transpose":
            turned = self.add("Transpose", weight, perm=[1, 0])
            return self.add("Add", self.add("MatMul", x, turned), bias)
        flat = self.add("Squeeze", x, self.constant("zero", [0]))
        flat = self.add("Gemm", flat, weight, bias, transB=1)
        return self.add("Unsqueeze", flat, self.constant("zero", [0]))

    def norm(self, x, name):
        gamma, beta = self.parameter(f"{name}.weight"), self.parameter(f"{name}.bias")
        eps = self.config["layer_norm_eps"]
        return self.add("LayerNormalization", x, gamma, beta, axis=-1, epsilon=eps)

    def heads(self, x):
        heads = self.config["num_attention_heads"]
        shape = self.constant(f"onnx::Reshape_{len(self.nodes)}", np.array([0, 0, heads, -1]))
        return self.add("Transpose", self.add("Reshape", x, shape), perm=[0, 2, 1, 3])

    def layer(self, x, name):
        q, k, v = (
            self.heads(self.linear(x, f"{name}.attention.self.{part}"))
            for part in ("query", "key", "value")
        )
        scale = math.sqrt(self.config["hidden_size"] // self.config["num_attention_heads"])
        logits = self.add("MatMul", q, self.add("Transpose", k, perm=[0, 1, 3, 2]))
        logits = self.add("Div", logits, self.constant("scale", self.dtype.type(scale)))
        mixed = self.add("MatMul", self.add("Softmax", logits, axis=-1), v)
        mixed = self.add("Transpose", mixed, perm=[0, 2, 1, 3])
        mixed = self.add("Reshape", mixed, self.constant("flat", np.array([0, 0, -1])))
        mixed = self.linear(mixed, f"{name}.attention.output.dense")
        x = self.norm(self.add("Add", mixed, x), f"{name}.attention.output.LayerNorm")
        wide = self.gelu(self.linear(x, f"{name}.intermediate.dense"))
        narrow = self.linear(wide, f"{name}.output.dense")
        return self.norm(self.add("Add", narrow, x), f"{name}.output.LayerNorm")

    def gelu(self, x):
        root = self.constant("/Constant_1_output_0", self.dtype.type(math.sqrt(2)))
        one = self.constant("/Constant_2_output_0", self.dtype.type(1))
        half = self.constant("/Constant_3_output_0", self.dtype.type(0.5))
        tail = self.add("Add", self.add("Erf", self.add("Div", x, root)), one)
        return self.add("Mul", self.add("Mul", x, tail), half)

    def graph(self):
        """Return the graph, from `input_ids` (1, tokens) to `last_hidden_state`."""
        words = self.add("Gather", self.parameter("embeddings.word_embeddings.weight"), "input_ids")
        end = self.add("Shape", "input_ids", start=1)
        begin, axis = self.constant("zero", [0]), self.constant("axis", [1])
        places = self.add("Slice", self.ids(), begin, end, axis)
        table = self.parameter("embeddings.position_embeddings.weight")
        zeros = self.add("Mul", "input_ids", self.constant("nothing", [[0]]))
        types = self.add("Gather", self.parameter("embeddings.token_type_embeddings.weight"), zeros)
        x = self.add("Add", self.add("Add", words, types), self.add("Gather", table, places))
        x = self.norm(x, "embeddings.LayerNorm")
        for i in range(self.config["num_hidden_layers"]):
            x = self.layer(x, f"encoder.layer.{i}")
        self.nodes.append(helper.make_node("Identity", [x], ["last_hidden_state"]))
        kind = helper.np_dtype_to_tensor_dtype(self.dtype)
        return helper.make_graph(
            self.nodes,
            "main_graph",
            [helper.make_tensor_value_info("input_ids", TensorProto.INT64, [1, None])],
            [helper.make_tensor_value_info("last_hidden_state", kind, [1, None, None])],
            list(self.initializers.values()),
        )

    def ids(self):
        name = f"{self.prefix}embeddings.position_ids"
        return self.constant(name, self.tensors["embeddings.position_ids"])


def save_onnx(path: Path, graph: onnx.GraphProto) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 10
    onnx.save(model, str(path))
    return path
