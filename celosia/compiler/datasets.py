"""Data that checkpoints are calibrated and judged on.

The digits are scikit-learn's `load_digits` (the test half of UCI's "Optical Recognition of
Handwritten Digits", CC BY 4.0): 1,797 images of 8x8 pixels, 0 to 16. The split is fixed. The 360
held-out digits, and 128 of the training digits for calibration, lie beside the packaged model,
so that running it needs no scikit-learn; only training does.
"""

from pathlib import Path

import numpy as np

from celosia.errors import ModelError

__all__ = [
    "CALIBRATION_SENTENCES",
    "SENTENCE_PAIRS",
    "digits_calibration",
    "digits_heldout",
    "digits_split",
    "models_root",
]

HELD_OUT = 360
CALIBRATION = 128

SENTENCE_PAIRS = (
    ("A man is playing a guitar.", "Someone plays an instrument."),
    ("The stock market fell sharply today.", "Shares dropped on Wall Street."),
    ("A man is playing a guitar.", "Shares dropped on Wall Street."),
    ("The stock market fell sharply today.", "Someone plays an instrument."),
)
"""Pairs of sentences to compare by cosine: two alike, two unrelated."""

CALIBRATION_SENTENCES = (
    "The ferry leaves the harbour at seven and returns after dark.",
    "Boil the potatoes until they are soft, then add butter and a pinch of salt.",
    "What is the fastest way to sort a list of a million numbers?",
    "She had never seen the sea before, and for a while she could not speak.",
    "Quarterly revenue rose 4.2 % to $1.8 billion, helped by a weaker dollar.",
    "No.",
    "The patient was given 5 mg of the drug twice daily for three weeks.",
    "Rain is expected over the northern hills, with strong winds near the coast.",
    "Please send the signed contract to the office in Geneva by Friday, 12 March.",
    "Two children are building a castle of sand while their dog sleeps in the shade.",
    "An integral domain is a commutative ring in which no two non-zero elements multiply to zero.",
    "He scored twice in the last ten minutes, and the stadium went silent.",
    "The committee has not yet decided whether the bridge will be repaired or replaced.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "I can't believe they cancelled the show!!!",
    "Der Zug nach Basel fährt heute von Gleis neun.",
    "The parser rejects a file whose header is longer than the file itself.",
    "In 1969, after eight years of work, people walked on the Moon.",
    "Cheap flights to Lisbon",
    "The court held that the clause was void because it had not been brought to the tenant's "
    "attention before the lease was signed, and because nothing in the correspondence that "
    "followed could be read as accepting it; the landlord's appeal was therefore dismissed.",
)
"""Sentences of many kinds and lengths, to find the ranges of a text model's activations."""


def models_root() -> Path:
    """Return the folder of packaged models, installed or in a source tree."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"


def digits_heldout() -> tuple[np.ndarray, np.ndarray]:
    """Return the digits kept out of training.

    Returns
    -------
    images : ndarray of uint8, shape (360, 8, 8)
        Pixels from 0 to 16.
    labels : ndarray of uint8, shape (360,)
        The digit each image shows.
    """
    data = packaged_digits()
    return data["heldout_images"], data["heldout_labels"]


def digits_calibration() -> np.ndarray:
    """Return training digits for calibration, uint8 of shape (128, 8, 8), pixels 0 to 16."""
    return packaged_digits()["calibration_images"]


def packaged_digits() -> dict[str, np.ndarray]:
    """Read the digits that lie beside the packaged model."""
    path = models_root() / "digits_vit" / "digits.npz"
    try:
        with np.load(path) as data:
            return dict(data)
    except FileNotFoundError:
        raise ModelError(
            f"{path}: file is missing; run scripts/train_digits.py to write it"
        ) from None


def digits_split() -> dict[str, np.ndarray]:
    """Split scikit-learn's digits into training and held-out sets.

    Returns
    -------
    dict
        `train_images` uint8 (1437, 8, 8), `train_labels` uint8 (1437,), `heldout_images` uint8
        (360, 8, 8), `heldout_labels` uint8 (360,) and `calibration_images` uint8 (128, 8, 8),
        the first of the training images.
    """
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        raise ModelError(
            "digits: scikit-learn is needed to split them; run `pip install scikit-learn`"
        ) from None

    data, target = (np.asarray(part) for part in load_digits(return_X_y=True))
    parts = train_test_split(
        data.reshape(-1, 8, 8).astype(np.uint8),
        target.astype(np.uint8),
        test_size=HELD_OUT,
        stratify=target,
        random_state=0,
    )
    train_images, heldout_images, train_labels, heldout_labels = map(np.asarray, parts)
    return {
        "train_images": train_images,
        "train_labels": train_labels,
        "heldout_images": heldout_images,
        "heldout_labels": heldout_labels,
        "calibration_images": train_images[:CALIBRATION],
    }
