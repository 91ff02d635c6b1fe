"""BERT encoders, as Hugging Face's `BertModel` and sentence-transformers store them.

The encoder alone is taken: the pooler and the heads of pre-training are left out. Pooling is
what `modules.json` and `1_Pooling/config.json` say, and the mean where they are missing.
"""

from celosia.compiler.graph import BertEmbedding, Block, Encoder, FeedForward
from celosia.compiler.importers.parts import activation, attention, linear, norm
from celosia.compiler.importers.source import Source, read_json
from celosia.errors import ModelError

__all__ = ["ARCHITECTURES", "import_bert"]

ARCHITECTURES = ("BertModel", "BertForMaskedLM", "BertForPreTraining")
LEFT_OUT = ("pooler.", "cls.", "embeddings.position_ids")


def import_bert(source: Source) -> Encoder:
    """Build the graph of a BERT checkpoint, with or without the prefix `bert.`."""
    source.demand("position_embedding_type", "absolute", "positions are learned rows")
    source.demand("is_decoder", False, "a decoder needs causal attention and a cache")
    source.demand("add_cross_attention", False, "an encoder attends to itself alone")
    prefix = "bert." if any(name.startswith("bert.") for name in source.entries) else ""
    hidden = source.integer("hidden_size")
    tables = (
        ("words", "word_embeddings", "vocab_size"),
        ("positions", "position_embeddings", "max_position_embeddings"),
        ("types", "token_type_embeddings", "type_vocab_size"),
    )
    embedding = BertEmbedding(**{
        field: source.tensor(f"{prefix}embeddings.{name}.weight", (source.integer(key), hidden))
        for field, name, key in tables
    })
    encoder = Encoder(
        name=source.name,
        family="bert",
        hidden=hidden,
        embedding=embedding,
        embedding_norm=norm(source, f"{prefix}embeddings.LayerNorm", hidden),
        blocks=tuple(
            block(source, f"{prefix}encoder.layer.{i}")
            for i in range(source.integer("num_hidden_layers"))
        ),
        pooling=pooling(source),
    )
    source.demand_all_used(LEFT_OUT + tuple(f"{prefix}{name}" for name in LEFT_OUT))
    return encoder


def block(source: Source, name: str) -> Block:
    """Read one layer."""
    hidden, wide = source.integer("hidden_size"), source.integer("intermediate_size")
    return Block(
        attention=attention(source, f"{name}.attention.self", f"{name}.attention.output.dense"),
        norm1=norm(source, f"{name}.attention.output.LayerNorm", hidden),
        ffn=FeedForward(
            up=linear(source, f"{name}.intermediate.dense", wide, hidden),
            activation=activation(source),
            down=linear(source, f"{name}.output.dense", hidden, wide),
        ),
        norm2=norm(source, f"{name}.output.LayerNorm", hidden),
        order="post",
    )


def pooling(source: Source) -> str:
    """Return how sentence-transformers pools the rows; a `Normalize` behind it is the host's."""
    modules = source.directory / "modules.json"
    if modules.is_file():
        text = modules.read_text(encoding="utf-8", errors="replace")
        if "models.Dense" in text:
            raise ModelError(f"{modules}: unsupported layer: Dense behind the pooling")
    path = source.directory / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    modes = [
        key.removeprefix("pooling_mode_")
        for key, chosen in read_json(path).items()
        if key.startswith("pooling_mode_") and chosen is True
    ]
    known = {"mean_tokens": "mean", "cls_token": "cls"}
    if len(modes) != 1 or modes[0] not in known:
        raise ModelError(
            f"{path}: pooling {' + '.join(modes) or 'without a mode'} is not supported; "
            "it must be mean_tokens or cls_token"
        )
    return known[modes[0]]
