"""Train the digits vision transformer and write it as a checkpoint.

Needs torch, scikit-learn and safetensors, which nothing else here needs together; use an
environment of its own::

    python -m venv ../train
    ../train/bin/pip install torch numpy scikit-learn safetensors
    PYTHONPATH=. ../train/bin/python scripts/train_digits.py --out models/digits_vit

The tensors and the configuration are those of Hugging Face's `ViTForImageClassification`, so one
importer reads both. With `--validate` a fifth of the training digits is kept back and reported
instead of the held-out set: settings are chosen by that, never by the held-out digits.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F  # noqa: N812

from celosia.compiler.datasets import digits_split

CONFIG = {
    "architectures": ["ViTForImageClassification"],
    "model_type": "vit",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "image_size": 8,
    "patch_size": 2,
    "num_channels": 1,
    "qkv_bias": True,
    "num_labels": 10,
    "id2label": {str(digit): str(digit) for digit in range(10)},
}
PREPROCESSOR = {
    "image_processor_type": "ViTImageProcessor",
    "do_rescale": True,
    "rescale_factor": 1 / 16,
    "do_normalize": True,
    "image_mean": [0.5],
    "image_std": [0.5],
    "size": {"height": 8, "width": 8},
}


class Block(nn.Module):
    """One encoder layer, normalised before attention and before the feed-forward network."""

    def __init__(self, d: int, heads: int, ffn: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(d, eps)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d) for _ in range(4))
        self.after = nn.LayerNorm(d, eps)
        self.up = nn.Linear(d, ffn)
        self.down = nn.Linear(ffn, d)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.before(x)
        q, k, v = (
            part(y).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        context = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2)
        x = x + self.o(context)
        return x + self.down(F.gelu(self.up(self.after(x))))


class DigitsViT(nn.Module):
    """The network of `CONFIG`, with a class token."""

    def __init__(self) -> None:
        super().__init__()
        d, eps = CONFIG["hidden_size"], CONFIG["layer_norm_eps"]
        patches = (CONFIG["image_size"] // CONFIG["patch_size"]) ** 2
        self.patch = nn.Conv2d(1, d, CONFIG["patch_size"], CONFIG["patch_size"])
        self.cls = nn.Parameter(torch.zeros(1, 1, d))
        self.positions = nn.Parameter(torch.randn(1, patches + 1, d) * 0.02)
        self.blocks = nn.ModuleList(
            Block(d, CONFIG["num_attention_heads"], CONFIG["intermediate_size"], eps)
            for _ in range(CONFIG["num_hidden_layers"])
        )
        self.norm = nn.LayerNorm(d, eps)
        self.head = nn.Linear(d, CONFIG["num_labels"])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        x = self.patch(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])

    def tensors(self) -> dict[str, torch.Tensor]:
        """Name the parameters as Hugging Face does."""
        named: dict[str, torch.Tensor] = {
            "vit.embeddings.cls_token": self.cls,
            "vit.embeddings.position_embeddings": self.positions,
        }
        modules = {
            "vit.embeddings.patch_embeddings.projection": self.patch,
            "vit.layernorm": self.norm,
            "classifier": self.head,
        }
        for i, block in enumerate(self.blocks):
            layer = f"vit.encoder.layer.{i}"
            modules |= {
                f"{layer}.attention.attention.query": block.q,
                f"{layer}.attention.attention.key": block.k,
                f"{layer}.attention.attention.value": block.v,
                f"{layer}.attention.output.dense": block.o,
                f"{layer}.intermediate.dense": block.up,
                f"{layer}.output.dense": block.down,
                f"{layer}.layernorm_before": block.before,
                f"{layer}.layernorm_after": block.after,
            }
        for name, module in modules.items():
            named[f"{name}.weight"] = module.weight
            named[f"{name}.bias"] = module.bias
        return {name: tensor.detach().contiguous() for name, tensor in named.items()}


def pixels(images: np.ndarray) -> torch.Tensor:
    """Bring pixels of 0 to 16 to -1 to 1, as `PREPROCESSOR` says."""
    return torch.from_numpy(images.astype(np.float32))[:, None] / 8 - 1


def augmented(batch: torch.Tensor, generator: torch.Generator, strength: float) -> torch.Tensor:
    """Rotate, scale and shift each image a little; the border is background."""
    draw = torch.rand((4, len(batch)), generator=generator) * 2 - 1
    angle, zoom, dx, dy = strength * draw
    angle, zoom = angle * 0.2, 1 + zoom * 0.1
    theta = torch.stack(
        [
            torch.stack([zoom * torch.cos(angle), -zoom * torch.sin(angle), dx * 0.2], -1),
            torch.stack([zoom * torch.sin(angle), zoom * torch.cos(angle), dy * 0.2], -1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, list(batch.shape), align_corners=False)
    return F.grid_sample(batch + 1, grid, align_corners=False) - 1


def train(
    images: np.ndarray, labels: np.ndarray, *, epochs: int, seed: int, strength: float
) -> DigitsViT:
    """Train on one thread with a fixed seed; the last epoch's weights are the result."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    x, y = pixels(images), torch.from_numpy(labels.astype(np.int64))
    model = DigitsViT()
    steps = epochs * -(-len(x) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=3e-3, total_steps=steps, pct_start=0.1
    )
    for epoch in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(x), generator=generator).split(64):
            loss = F.cross_entropy(
                model(augmented(x[batch], generator, strength)), y[batch], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(batch)
        if epoch % 20 == 19:
            print(f"epoch {epoch + 1}: loss {total / len(x):.4f}", flush=True)
    return model


def main() -> None:
    """Train, judge on the held-out digits and write the checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("models/digits_vit"))
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--augment", type=float, default=0.25, help="strength, 0 for none")
    parser.add_argument("--validate", action="store_true")
    args = parser.parse_args()

    data = digits_split()
    images, labels = data["train_images"], data["train_labels"]
    judged = data["heldout_images"], data["heldout_labels"]
    if args.validate:
        fifth = len(images) // 5
        judged = images[:fifth], labels[:fifth]
        images, labels = images[fifth:], labels[fifth:]

    started = time.perf_counter()
    model = train(images, labels, epochs=args.epochs, seed=args.seed, strength=args.augment)
    seconds = time.perf_counter() - started
    with torch.no_grad():
        right = int((model(pixels(judged[0])).argmax(-1).numpy() == judged[1]).sum())
    parameters = sum(tensor.numel() for tensor in model.parameters())
    print(f"{parameters} parameters, {seconds:.0f} s, {right} of {len(judged[1])} right")
    if args.validate:
        return

    args.out.mkdir(parents=True, exist_ok=True)
    save_file(model.tensors(), args.out / "model.safetensors", metadata={"format": "pt"})
    (args.out / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
    (args.out / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR, indent=2) + "\n")
    kept = ("heldout_images", "heldout_labels", "calibration_images")
    np.savez_compressed(args.out / "digits.npz", **{name: data[name] for name in kept})


if __name__ == "__main__":
    main()
