"""The host's part of an encoder: from token ids or pixels to rows."""

from dataclasses import dataclass

import numpy as np

from celosia.compiler.graph_parts import Linear, check
from celosia.errors import ModelError

__all__ = ["BertEmbedding", "PatchEmbedding"]


@dataclass(frozen=True, kw_only=True, eq=False)
class BertEmbedding:
    """Tables whose rows the host looks up and adds; the encoder's `embedding_norm` follows.

    Parameters
    ----------
    words : ndarray of float32, shape (vocabulary, hidden)
        One row per token id.
    positions : ndarray of float32, shape (max_tokens, hidden)
        One row per position.
    types : ndarray of float32, shape (types, hidden)
        One row per token type; row 0 for a single sentence.
    """

    words: np.ndarray
    positions: np.ndarray
    types: np.ndarray

    def __post_init__(self) -> None:
        for what in ("words", "positions", "types"):
            table = getattr(self, what)
            check("embedding", what, table, (len(table), self.hidden))

    @property
    def hidden(self) -> int:
        """Elements of a row."""
        return self.words.shape[1]

    @property
    def max_tokens(self) -> int:
        """Positions that have a row."""
        return len(self.positions)

    def rows(self, ids: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
        """Look token ids up.

        Parameters
        ----------
        ids : ndarray of int, shape (tokens,)
            Token ids, from 1 to `max_tokens` of them.
        types : ndarray of int, shape (tokens,), optional
            Token types; all 0 by default.

        Returns
        -------
        ndarray of float32, shape (tokens, hidden)
            The sum of the three rows of each token, before the norm.

        Raises
        ------
        ModelError
            If the ids do not fit the tables.
        """
        ids = np.asarray(ids)
        types = np.zeros_like(ids) if types is None else np.asarray(types)
        if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
            raise ModelError(
                f"input: token ids must be integers on one axis, not {ids.dtype} {ids.shape}"
            )
        if not 1 <= len(ids) <= self.max_tokens:
            raise ModelError(
                f"input: there must be 1 to {self.max_tokens} token ids, not {len(ids)}; shorten it"
            )
        if types.shape != ids.shape:
            raise ModelError(f"input: token types must have shape {ids.shape}, not {types.shape}")
        for what, index, table in (("id", ids, self.words), ("type", types, self.types)):
            if index.min() < 0 or index.max() >= len(table):
                worst = index.min() if index.min() < 0 else index.max()
                raise ModelError(f"input: token {what} must be 0 to {len(table) - 1}, not {worst}")
        return self.words[ids] + self.positions[: len(ids)] + self.types[types]


@dataclass(frozen=True, kw_only=True, eq=False)
class PatchEmbedding:
    """Patches of an image, projected; a matmul for the accelerator.

    `hidden rows = rows(image) @ projection.weight.T + offsets`: the host only cuts the image up,
    the class token and the positions are in `offsets`.

    Parameters
    ----------
    projection : Linear
        channels * patch height * patch width → hidden, in that order of pixels.
    cls : ndarray of float32, shape (hidden,), optional
        Class token, in front of the patches; None for none.
    positions : ndarray of float32, shape (tokens, hidden)
        One row per token, the class token's first.
    channels : int
        Channels of the image.
    image_size, patch_size : tuple of (int, int)
        Height and width in pixels.
    scale : float
        Multiplies each pixel first.
    mean, std : tuple of float
        Per channel: `(pixel * scale - mean) / std` is what the projection takes.
    """

    projection: Linear
    cls: np.ndarray | None
    positions: np.ndarray
    channels: int
    image_size: tuple[int, int]
    patch_size: tuple[int, int]
    scale: float = 1.0
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for side, patch in zip(self.image_size, self.patch_size, strict=True):
            if side % patch:
                raise ValueError(f"image side {side} must be a multiple of patch side {patch}")
        pixels = self.channels * self.patch_size[0] * self.patch_size[1]
        check(self.projection.name, "weight", self.projection.weight, (self.hidden, pixels))
        check("embedding", "positions", self.positions, (self.max_tokens, self.hidden))
        if self.cls is not None:
            check("embedding", "cls", self.cls, (self.hidden,))
        for what, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels:
                raise ValueError(f"{what} must have {self.channels} values, not {len(values)}")
        if not min(self.std) > 0:
            raise ValueError(f"std must be positive, not {min(self.std)}")

    @property
    def hidden(self) -> int:
        """Elements of a row."""
        return self.projection.outputs

    @property
    def patches(self) -> int:
        """Patches of an image."""
        (height, width), (down, across) = self.image_size, self.patch_size
        return (height // down) * (width // across)

    @property
    def max_tokens(self) -> int:
        """Rows of every image: its patches and the class token."""
        return self.patches + (self.cls is not None)

    @property
    def offsets(self) -> np.ndarray:
        """What is added to the product, float32 of shape (tokens, hidden)."""
        offsets = self.positions.copy()
        first = self.max_tokens - self.patches
        if self.cls is not None:
            offsets[0] += self.cls
        if self.projection.bias is not None:
            offsets[first:] += self.projection.bias
        return offsets

    def rows(self, image: np.ndarray) -> np.ndarray:
        """Normalise an image and cut it into patches.

        Parameters
        ----------
        image : ndarray of int or float, shape (channels, height, width)
            Raw pixels; (height, width) will do for one channel.

        Returns
        -------
        ndarray of float32, shape (tokens, channels * patch height * patch width)
            One row per token, left to right and top to bottom; the class token's is zero.

        Raises
        ------
        ModelError
            If the image has another shape or is not finite.
        """
        image = np.asarray(image)
        expected = (self.channels, *self.image_size)
        if image.shape != expected and (1, *image.shape) != expected:
            raise ModelError(f"input: image must have shape {expected}, not {image.shape}")
        if not np.isfinite(image).all():
            raise ModelError("input: image must be finite, but holds NaN or infinity")
        (height, width), (down, across) = self.image_size, self.patch_size
        mean, std = (np.array(values)[:, None, None] for values in (self.mean, self.std))
        pixels = (image.reshape(expected) * self.scale - mean) / std
        grid = pixels.reshape(self.channels, height // down, down, width // across, across)
        patches = grid.transpose(1, 3, 0, 2, 4).reshape(self.patches, -1)
        blank = np.zeros((self.max_tokens - self.patches, patches.shape[1]))
        return np.concatenate([blank, patches]).astype(np.float32)
