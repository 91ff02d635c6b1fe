"""Vision transformers, as Hugging Face's `ViTForImageClassification` and `ViTModel` store them.

Pixels are scaled and normalised as `preprocessor_config.json` says; without that file they are
taken as they come. The classifier sits on the class token behind the final norm; a pooler is
left out.
"""

import math
from typing import Any

from celosia.compiler.graph import Block, Encoder, FeedForward, Linear, PatchEmbedding
from celosia.compiler.importers.parts import activation, attention, linear, norm
from celosia.compiler.importers.source import Source, read_json
from celosia.errors import ModelError

__all__ = ["ARCHITECTURES", "import_vit"]

ARCHITECTURES = ("ViTForImageClassification", "ViTModel")
LEFT_OUT = ("pooler.", "vit.pooler.")


def import_vit(source: Source) -> Encoder:
    """Build the graph of a ViT checkpoint, with or without the prefix `vit.`."""
    prefix = "vit." if any(name.startswith("vit.") for name in source.entries) else ""
    hidden = source.integer("hidden_size")
    head = classifier(source, hidden)
    encoder = Encoder(
        name=source.name,
        family="vit",
        hidden=hidden,
        embedding=patches(source, f"{prefix}embeddings", hidden),
        blocks=tuple(
            block(source, f"{prefix}encoder.layer.{i}")
            for i in range(source.integer("num_hidden_layers"))
        ),
        final_norm=norm(source, f"{prefix}layernorm", hidden),
        pooling="cls",
        head=head,
        labels=labels(source, head.outputs) if head else (),
    )
    source.demand_all_used(LEFT_OUT)
    return encoder


def patches(source: Source, name: str, hidden: int) -> PatchEmbedding:
    """Read the patch projection, a convolution whose stride is its kernel."""
    channels = source.integer("num_channels")
    image, patch = pair(source, "image_size"), pair(source, "patch_size")
    for side, part in zip(image, patch, strict=True):
        if side % part:
            raise ModelError(
                f"{source.config_path}: image_size {side} must be a multiple of patch_size {part}"
            )
    projection = f"{name}.patch_embeddings.projection"
    kernel = source.tensor(f"{projection}.weight", (hidden, channels, *patch))
    tokens = (image[0] // patch[0]) * (image[1] // patch[1]) + 1
    return PatchEmbedding(
        projection=Linear(
            name=projection,
            weight=kernel.reshape(hidden, -1),
            bias=source.tensor(f"{projection}.bias", (hidden,)),
        ),
        cls=source.tensor(f"{name}.cls_token", (1, 1, hidden))[0, 0],
        positions=source.tensor(f"{name}.position_embeddings", (1, tokens, hidden))[0],
        channels=channels,
        image_size=image,
        patch_size=patch,
        **normalisation(source, channels),
    )


def block(source: Source, name: str) -> Block:
    """Read one layer."""
    hidden, wide = source.integer("hidden_size"), source.integer("intermediate_size")
    return Block(
        norm1=norm(source, f"{name}.layernorm_before", hidden),
        attention=attention(
            source,
            f"{name}.attention.attention",
            f"{name}.attention.output.dense",
            qkv_bias=bool(source.config.get("qkv_bias", True)),
        ),
        norm2=norm(source, f"{name}.layernorm_after", hidden),
        ffn=FeedForward(
            up=linear(source, f"{name}.intermediate.dense", wide, hidden),
            activation=activation(source),
            down=linear(source, f"{name}.output.dense", hidden, wide),
        ),
        order="pre",
    )


def classifier(source: Source, hidden: int) -> Linear | None:
    """Read the classifier, if the architecture has one."""
    if source.value("architectures")[0] == "ViTModel":
        return None
    (outputs, *_) = source.shape("classifier.weight") or (0,)
    names = class_names(source)
    wanted = len(names) if names else source.integer("num_labels", outputs)
    return linear(source, "classifier", wanted, hidden)


def class_names(source: Source) -> dict[str, Any]:
    """Return the configuration's names of the classes, by number; none if it gives none."""
    names = source.config.get("id2label", {})
    if not isinstance(names, dict):
        raise ModelError(f"{source.config_path}: id2label must be an object, not {names!r}")
    return names


def labels(source: Source, count: int) -> tuple[str, ...]:
    """Return the names of the classes, or their numbers."""
    names = class_names(source)
    return tuple(str(names.get(str(i), i)) for i in range(count))


def pair(source: Source, key: str) -> tuple[int, int]:
    """Return a height and a width, given as one integer or as two."""
    value = source.value(key)
    if isinstance(value, list) and len(value) == 2:
        height, width = (source.positive_integer(key, side) for side in value)
        return height, width
    side = source.positive_integer(key, value)
    return side, side


def is_number(value: object) -> bool:
    """Tell whether a value from JSON is a finite number; Python's JSON admits NaN."""
    return isinstance(value, int | float) and math.isfinite(value)


def normalisation(source: Source, channels: int) -> dict[str, Any]:
    """Return scale, mean and std of the pixels."""
    path = source.directory / "preprocessor_config.json"
    given = read_json(path) if path.is_file() else {"do_rescale": False, "do_normalize": False}
    scale: Any = given.get("rescale_factor", 1 / 255) if given.get("do_rescale", True) else 1.0
    normalise = given.get("do_normalize", True)
    mean: Any = given.get("image_mean", [0.5] * channels) if normalise else [0.0] * channels
    std: Any = given.get("image_std", [0.5] * channels) if normalise else [1.0] * channels
    if not is_number(scale):
        raise ModelError(f"{path}: rescale_factor must be a finite number, not {scale!r}")
    for key, values in (("image_mean", mean), ("image_std", std)):
        numbers = isinstance(values, list) and all(map(is_number, values))
        if not numbers or len(values) != channels or (key == "image_std" and not min(values) > 0):
            raise ModelError(
                f"{path}: {key} must be {channels} numbers, one per channel"
                f"{', above 0' if key == 'image_std' else ''}, not {values!r}"
            )
    return {"scale": float(scale), "mean": tuple(mean), "std": tuple(std)}
