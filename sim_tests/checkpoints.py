"""Small random checkpoints in the layouts of Hugging Face, written with its own library."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

BERT = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 27,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 41,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "vocab_size": 19,
    "max_position_embeddings": 5,
    "type_vocab_size": 2,
}
VIT = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "hidden_size": 27,
    "num_hidden_layers": 1,
    "num_attention_heads": 3,
    "intermediate_size": 41,
    "hidden_act": "gelu_new",
    "layer_norm_eps": 1e-6,
    "image_size": [6, 9],
    "patch_size": 3,
    "num_channels": 2,
    "id2label": {"0": "ant", "1": "bee", "2": "cat"},
}
PREPROCESSOR = {"rescale_factor": 0.5, "image_mean": [0.5, 0.25], "image_std": [0.5, 2]}


class Maker:
    """Draws the tensors of a checkpoint by name."""

    def __init__(self, config: dict, seed: int) -> None:
        self.d, self.wide = config["hidden_size"], config["intermediate_size"]
        self.qkv = config["num_attention_heads"] * config.get(
            "head_dim", self.d // config["num_attention_heads"]
        )
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, np.ndarray] = {}

    def add(self, name: str, *shape: int) -> None:
        self.tensors[name] = self.rng.normal(0, 0.4, shape).astype(np.float32)

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.add(f"{name}.weight", outputs, inputs)
        self.add(f"{name}.bias", outputs)

    def norm(self, name: str) -> None:
        self.add(f"{name}.weight", self.d)
        self.tensors[f"{name}.weight"] += 1
        self.add(f"{name}.bias", self.d)

    def layer(self, name: str, qkv: str) -> None:
        for part in ("query", "key", "value"):
            self.linear(f"{name}.attention.{qkv}.{part}", self.qkv, self.d)
        self.linear(f"{name}.attention.output.dense", self.d, self.qkv)
        self.linear(f"{name}.intermediate.dense", self.wide, self.d)
        self.linear(f"{name}.output.dense", self.d, self.wide)


def bert_tensors(config: dict = BERT, *, prefix: str = "", seed: int = 0) -> dict:
    maker = Maker(config, seed)
    for name, key in (
        ("word", "vocab_size"),
        ("position", "max_position_embeddings"),
        ("token_type", "type_vocab_size"),
    ):
        maker.add(f"{prefix}embeddings.{name}_embeddings.weight", config[key], maker.d)
    maker.norm(f"{prefix}embeddings.LayerNorm")
    for i in range(config["num_hidden_layers"]):
        layer = f"{prefix}encoder.layer.{i}"
        maker.layer(layer, "self")
        maker.norm(f"{layer}.attention.output.LayerNorm")
        maker.norm(f"{layer}.output.LayerNorm")
    maker.linear(f"{prefix}pooler.dense", maker.d, maker.d)
    ids = np.arange(config["max_position_embeddings"])[None]
    maker.tensors[f"{prefix}embeddings.position_ids"] = ids
    return maker.tensors


def vit_tensors(config: dict = VIT, *, seed: int = 0) -> dict:
    maker = Maker(config, seed)
    (height, width), patch = config["image_size"], config["patch_size"]
    tokens = (height // patch) * (width // patch) + 1
    embeddings = "vit.embeddings"
    maker.add(f"{embeddings}.cls_token", 1, 1, maker.d)
    maker.add(f"{embeddings}.position_embeddings", 1, tokens, maker.d)
    projection = f"{embeddings}.patch_embeddings.projection"
    maker.add(f"{projection}.weight", maker.d, config["num_channels"], patch, patch)
    maker.add(f"{projection}.bias", maker.d)
    for i in range(config["num_hidden_layers"]):
        layer = f"vit.encoder.layer.{i}"
        maker.layer(layer, "attention")
        maker.norm(f"{layer}.layernorm_before")
        maker.norm(f"{layer}.layernorm_after")
    maker.norm("vit.layernorm")
    maker.linear("classifier", len(config["id2label"]), maker.d)
    return maker.tensors


def write(folder: Path, tensors: dict, config: dict, preprocessor: dict | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder
