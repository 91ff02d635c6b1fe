"""Encoders in ONNX files, as torch and optimum export them, by the package `onnx`.

The graph is not interpreted: config.json, beside the file or in the folder above, says what model
it is, and the initialisers still have the names of its parameters. Only weights of matrix
products lose theirs (`onnx::MatMul_123`), for they are stored transposed; such a weight is named
after the bias that is added to its product.
"""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from celosia.compiler.importers.source import Entry, Source, optional, read_json
from celosia.errors import ModelError

__all__ = ["open_onnx"]

PARAMETER = re.compile(r"[A-Za-z_]\w*(\.\w+)+")  # and not `onnx::MatMul_1`, `/a/Constant_output_0`
QUANTISED = re.compile(r"QLinear\w+|\w+Integer|\w*[Qq]uantizeLinear")
FLOATS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE")
WORDS = "embeddings.word_embeddings.weight"


def open_onnx(name: str, path: Path) -> Source:
    """Open an ONNX file whose tensors have the names of its model's state dict."""
    onnx = optional("onnx", path)
    folders = (path.parent, path.parent.parent)
    config_path = next((f for f in folders if (f / "config.json").is_file()), folders[0])
    config_path /= "config.json"
    config = read_json(config_path)
    try:
        graph = onnx.load(str(path)).graph
        if not graph.node:
            raise ValueError("it has no graph")
    except Exception as error:  # protobuf's own errors, or files of weights that are missing
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{path}: truncated or not ONNX ({first}); the file has {path.stat().st_size} bytes; "
            "copy it again, with the files of its weights"
        ) from None
    return Source(name, path, Walk(path, graph).entries(), config_path, config)


class Walk:
    """What a graph's nodes say of its constants.

    Parameters
    ----------
    path : Path
        The file, for messages.
    graph : onnx.GraphProto
        Its graph.
    """

    def __init__(self, path: Path, graph: Any) -> None:
        self.path = path
        self.nodes = graph.node
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.users: dict[str, list[Any]] = {}
        self.makers: dict[str, Any] = {}
        for node in self.nodes:
            self.refuse_variants(node)
            for operand in node.input:
                self.users.setdefault(operand, []).append(node)
            for result in node.output:
                self.makers[result] = node
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
            # Of equal parameters an exporter keeps one, and gives the others by an Identity.
            if node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]

    def refuse_variants(self, node: Any) -> None:
        """Refuse operators whose weights are not those of the model."""
        if node.domain not in ("", "ai.onnx"):
            raise ModelError(
                f"{self.path}: operator {node.domain}.{node.op_type} is not supported: layers are "
                "fused; export the model without optimisations"
            )
        if QUANTISED.fullmatch(node.op_type):
            raise ModelError(
                f"{self.path}: operator {node.op_type} is not supported: weights must be floats; "
                "export the model without quantisation"
            )

    def entries(self) -> dict[str, Entry]:
        """Return the parameters by their names in the state dict, without a wrapper's prefix."""
        found = {
            name: Entry(tuple(tensor.dims), partial(self.floats, name, tensor))
            for name, tensor in self.constants.items()
            if PARAMETER.fullmatch(name)
        }
        for node in self.nodes:
            if node.op_type in ("MatMul", "Gemm"):
                found |= self.product(node)
        ends = [name for name in found if name.endswith(WORDS)]
        prefix = ends[0].removesuffix(WORDS) if ends else ""
        return {name.removeprefix(prefix): entry for name, entry in found.items()}

    def product(self, node: Any) -> dict[str, Entry]:
        """Return the weight of a matrix product by its name, or nothing if it has none."""
        operand, turned = node.input[1], node.op_type == "MatMul"
        if node.op_type == "Gemm":
            given = {a.name: a.f if a.name in ("alpha", "beta") else a.i for a in node.attribute}
            if {given.pop("alpha", 1), given.pop("beta", 1)} != {1} or given.get("transA"):
                raise ModelError(f"{self.path}: Gemm {node.name!r} scales or transposes its input")
            turned = not given.get("transB")
        maker = self.makers.get(operand)
        if maker is not None and maker.op_type == "Transpose" and operand not in self.constants:
            operand, turned = maker.input[0], not turned
        tensor = self.constants.get(operand)
        if tensor is None:  # a product of two activations, in attention
            return {}
        name = self.name(node, operand)
        if len(tensor.dims) != 2 or name is None:
            raise ModelError(
                f"{self.path}: weight {operand!r} {list(tensor.dims)} of {node.op_type} "
                f"{node.name!r} is not followed by a bias that tells its layer's name"
            )
        shape = tuple(reversed(tensor.dims)) if turned else tuple(tensor.dims)
        return {name: Entry(shape, partial(self.floats, name, tensor, turned=turned))}

    def name(self, node: Any, operand: str) -> str | None:
        """Name a product's weight after its bias, else as the file does."""
        biases = list(node.input[2:])
        if node.op_type == "MatMul":
            for user in self.users.get(node.output[0], []):
                biases += [name for name in user.input if user.op_type == "Add"]
        for bias in biases:
            if bias in self.constants and bias.endswith(".bias"):
                return f"{bias.removesuffix('bias')}weight"
        return operand if PARAMETER.fullmatch(operand) else None

    def floats(self, name: str, tensor: Any, *, turned: bool = False) -> np.ndarray:
        """Read a tensor, which must be of floats."""
        onnx = optional("onnx", self.path)
        kind = onnx.TensorProto.DataType.Name(tensor.data_type)
        if kind not in FLOATS:
            raise ModelError(
                f"{self.path}: tensor {name!r} is stored as {kind}; weights must be "
                f"{', '.join(FLOATS[:-1])} or {FLOATS[-1]}"
            )
        values = onnx.numpy_helper.to_array(tensor)
        return values.T if turned else values
