"""The host's part of a run: what it writes before and how it reads the result.

Every device uses these two functions, so that it need know nothing but memory.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.graph import BertEmbedding, Linear, PatchEmbedding
from celosia.compiler.program import Program, Tensor
from celosia.errors import ModelError, ProgramError

__all__ = ["Output", "finish", "input_rows", "prepare", "read_tensor"]

#: Reads bytes of the window: address and size.
Reader = Callable[[int, int], bytes]


@dataclass(frozen=True)
class Output:
    """What a model says about one input.

    Attributes
    ----------
    tensors : dict of str to ndarray
        The raw rows that the machine left, by name.
    hidden : (tokens, hidden) float or None
        Final rows, unless the model ends in a classifier.
    pooled : (hidden,) float or None
        The pooled row, if the model pools.
    logits : (classes,) float or None
        Of a classifier.
    label : str or None
        Name, or number, of the largest logit.
    """

    tensors: dict[str, NDArray[np.integer]]
    hidden: NDArray[np.float64] | None = None
    pooled: NDArray[np.float64] | None = None
    logits: NDArray[np.float64] | None = None
    label: str | None = None


def input_rows(program: Program, values: NDArray) -> NDArray[np.float32]:
    """Return the rows that one input becomes, in real numbers.

    Parameters
    ----------
    program : Program
        What was compiled.
    values : ndarray
        Token ids (tokens,) or an image (channels, height, width).

    Raises
    ------
    ModelError
        If the input does not fit the model, or has another number of tokens than the program.
    """
    extra = program.extra
    embedding: BertEmbedding | PatchEmbedding
    if extra["family"] == "bert":
        embedding = BertEmbedding(**{k: program.host[k] for k in ("words", "positions", "types")})
    else:
        embedding = _patch_embedding(program, extra["patches"])
    rows = embedding.rows(values)
    if len(rows) != program.tokens:
        raise ModelError(
            f"input: the program takes {program.tokens} tokens, not {len(rows)}; compile it for "
            f"{len(rows)}"
        )
    return rows


def _patch_embedding(program: Program, patches: dict[str, Any]) -> PatchEmbedding:
    """Build what cuts images up; the products are the machine's, so there are no weights."""
    (tensor,) = program.inputs
    nothing = np.zeros((1, tensor.columns), np.float32)
    return PatchEmbedding(
        projection=Linear(name="patches", weight=nothing),
        cls=nothing[0, :1] if patches["cls"] else None,
        positions=np.zeros((tensor.rows, 1), np.float32),
        channels=patches["channels"],
        image_size=tuple(patches["image_size"]),
        patch_size=tuple(patches["patch_size"]),
        scale=patches["scale"],
        mean=tuple(patches["mean"]),
        std=tuple(patches["std"]),
    )


def prepare(program: Program, values: NDArray) -> list[tuple[int, bytes]]:
    """Return what to write into the window for one input, once the image is there.

    Parameters
    ----------
    program : Program
        What was compiled.
    values : ndarray
        Token ids (tokens,) or an image (channels, height, width).

    Returns
    -------
    list of (int, bytes)
        Addresses and data, both multiples of the memory's width.

    Raises
    ------
    ModelError
        If the input does not fit the program.
    """
    (tensor,) = program.inputs
    codes = np.rint(input_rows(program, values) / tensor.scale)
    limits = np.iinfo(tensor.dtype)
    padded = np.zeros(
        (tensor.rows, tensor.pitch // np.dtype(tensor.dtype).itemsize),
        np.dtype(tensor.dtype).newbyteorder("<"),
    )
    padded[:, : tensor.columns] = np.clip(codes, limits.min, limits.max)
    return [(tensor.address, padded.tobytes())]


def read_tensor(tensor: Tensor, read: Reader) -> NDArray[np.integer]:
    """Read the rows of a tensor, whole rows with their padding, and cut that off."""
    kind = np.dtype(tensor.dtype).newbyteorder("<")
    data = read(tensor.address, tensor.rows * tensor.pitch)
    rows = np.frombuffer(data, kind).reshape(tensor.rows, -1)
    return rows[:, : tensor.columns].astype(tensor.dtype)


def finish(program: Program, memory: Reader | bytes | bytearray | NDArray[np.uint8]) -> Output:
    """Return what the model says, after a run.

    Parameters
    ----------
    program : Program
        What was compiled.
    memory : callable or bytes or (bytes,) uint8
        The window after the run, or a function that reads `size` bytes at an address of it.

    Raises
    ------
    ProgramError
        If the program has an output that is not known here.
    """
    read = memory if callable(memory) else lambda at, size: bytes(memory[at : at + size])
    tensors = {tensor.name: read_tensor(tensor, read) for tensor in program.outputs}
    (tensor,) = program.outputs
    rows = tensors[tensor.name] * np.asarray(tensor.scale, np.float64)
    pooling, labels = program.extra["pooling"], program.extra["labels"]
    # The head is linear, so pooling behind it is pooling in front of it.
    pooled = {"mean": rows.mean(axis=0), "cls": rows[0], "none": None}[pooling]
    if tensor.name == "hidden":
        return Output(tensors, hidden=rows, pooled=pooled)
    if tensor.name != "logits" or pooled is None:
        raise ProgramError(f"{program.model}: output {tensor.name!r} is not known to this host")
    best = int(np.argmax(pooled))
    return Output(tensors, logits=pooled, label=labels[best] if labels else str(best))
