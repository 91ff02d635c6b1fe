"""One module per family of checkpoints; each turns a source into a graph."""

from collections.abc import Callable

from celosia.compiler.graph import Encoder
from celosia.compiler.importers import bert, vit
from celosia.compiler.importers.source import Source
from celosia.errors import ModelError

__all__ = ["IMPORTERS", "import_model"]

IMPORTERS: dict[str, tuple[tuple[str, ...], Callable[[Source], Encoder]]] = {
    "bert": (bert.ARCHITECTURES, bert.import_bert),
    "vit": (vit.ARCHITECTURES, vit.import_vit),
}
"""Architectures and importer of each `model_type`."""


def import_model(source: Source) -> Encoder:
    """Build the graph of a checkpoint, or say why it cannot be built."""
    architectures = source.value("architectures")
    if not (
        isinstance(architectures, list) and architectures and isinstance(architectures[0], str)
    ):
        raise ModelError(
            f"{source.config_path}: architectures must be a list of names, not {architectures!r}"
        )
    for known, importer in IMPORTERS.values():
        if architectures[0] in known:
            return importer(source)
    supported = ", ".join(name for known, _ in IMPORTERS.values() for name in known)
    raise ModelError(
        f"{source.config_path}: architecture {architectures[0]!r} is not supported: "
        f"no importer reads its layers; supported are {supported}"
    )
