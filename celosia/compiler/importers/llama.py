"""Decoders of the LLaMA family, as Hugging Face stores them.

Rotary positions are in the half-split layout. What a configuration leaves out has the default
that Hugging Face gives it.
"""

from celosia.compiler.decoder import Decoder, Rope
from celosia.compiler.importers.decoder_parts import Sizes, build_decoder
from celosia.compiler.importers.parts import activation, attention_shape
from celosia.compiler.importers.source import Source
from celosia.errors import ModelError

__all__ = ["ARCHITECTURES", "import_llama"]

ARCHITECTURES = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
LAYER = "model.layers.{i}"
NAMES = {
    "embedding": "model.embed_tokens.weight",
    "norm1": f"{LAYER}.input_layernorm.weight",
    **{part: f"{LAYER}.self_attn.{part}_proj.weight" for part in ("q", "k", "v", "o")},
    "norm2": f"{LAYER}.post_attention_layernorm.weight",
    **{part: f"{LAYER}.mlp.{part}_proj.weight" for part in ("gate", "up", "down")},
    "final_norm": "model.norm.weight",
    "head": "lm_head.weight",
}
MISTRAL_WINDOW = 4096  # of a MistralConfig that does not speak of it


def import_llama(source: Source) -> Decoder:
    """Build the graph of a checkpoint, with a tied head or one of its own."""
    source.demand("quantization_config", None, "weights must be floats")
    heads, head_dim = attention_shape(source)
    context = source.integer("max_position_embeddings")
    refuse_windows(source, context)
    layers = source.integer("num_hidden_layers")
    decoder = build_decoder(
        source,
        NAMES,
        Sizes(
            hidden=source.integer("hidden_size"),
            layers=layers,
            heads=heads,
            kv_heads=source.integer("num_key_value_heads", heads),
            head_dim=head_dim,
            intermediate=source.integer("intermediate_size"),
            vocabulary=source.integer("vocab_size"),
            context=context,
            eps=source.number("rms_norm_eps", 1e-6),
            activation=activation(source),
            rope=rope(source),
            tied=tied(source),
            biases=biases(source),
        ),
    )
    # Frequencies that old checkpoints stored, and a second copy of a tied head.
    unused = [f"{LAYER}.self_attn.rotary_emb.inv_freq".format(i=i) for i in range(layers)]
    source.demand_all_used((*unused, NAMES["head"]) if decoder.tied else tuple(unused))
    return decoder


def architecture(source: Source) -> str:
    """Return the architecture, one of `ARCHITECTURES`."""
    return source.value("architectures")[0]


def flag(source: Source, key: str) -> bool:
    """Return a flag of the configuration, false if it is not there."""
    value = source.config.get(key, False)
    if not isinstance(value, bool):
        raise ModelError(f"{source.config_path}: {key} must be true or false, not {value!r}")
    return value


def biases(source: Source) -> frozenset[str]:
    """Return the parts that have a bias."""
    kind = architecture(source)
    if kind == "Qwen2ForCausalLM":
        return frozenset("qkv")
    if kind == "MistralForCausalLM":
        return frozenset()
    attention = ("q", "k", "v", "o") if flag(source, "attention_bias") else ()
    feed_forward = ("gate", "up", "down") if flag(source, "mlp_bias") else ()
    return frozenset((*attention, *feed_forward))


def tied(source: Source) -> bool:
    """Tell whether the head is the embedding; a file that has both must have them equal."""
    if not flag(source, "tie_word_embeddings"):
        return False
    embedding, head = NAMES["embedding"], NAMES["head"]
    if head in source:
        shape = source.shape(embedding)
        if (source.tensor(head, shape) != source.tensor(embedding, shape)).any():
            raise ModelError(
                f"{source.weights}: {head!r} differs from {embedding!r}, but tie_word_embeddings "
                f"in {source.config_path.name} makes them one; set it to false"
            )
    return True


def refuse_windows(source: Source, context: int) -> None:
    """Refuse layers that do not attend to all tokens before."""
    kinds = source.config.get("layer_types") or []
    other = [kind for kind in kinds if kind != "full_attention"]
    if other:
        raise ModelError(
            f"{source.config_path}: attention {other[0]!r} in layer_types is not supported; every "
            "layer must have 'full_attention'"
        )
    if architecture(source) == "LlamaForCausalLM":
        return
    if architecture(source) == "Qwen2ForCausalLM" and not flag(source, "use_sliding_window"):
        return
    window = source.config.get("sliding_window", MISTRAL_WINDOW)
    if window is None:
        return
    if source.positive_integer("sliding_window", window) < context:
        raise ModelError(
            f"{source.config_path}: sliding_window = {window} is not supported, for it is less "
            f"than max_position_embeddings = {context}; to use the model up to its window, set "
            f"max_position_embeddings to {window}"
        )


def rope(source: Source) -> Rope:
    """Return the rotary positions; only their plain form is supported."""
    newer = "rope_parameters" in source.config  # where the scaling and the base are together
    key = "rope_parameters" if newer else "rope_scaling"
    given = source.config.get(key) or {}
    kind = given.get("rope_type", given.get("type", "default")) if isinstance(given, dict) else None
    if kind != "default":
        raise ModelError(
            f"{source.config_path}: {key} = {given!r} is not supported; its rope_type must be "
            "'default'"
        )
    for place in (given, source.config):
        if place.get("partial_rotary_factor", 1) != 1:
            raise ModelError(
                f"{source.config_path}: partial_rotary_factor = "
                f"{place['partial_rotary_factor']!r} is not supported; it must be 1"
            )
    base = given.get("rope_theta") or source.value("rope_theta", 10000.0)
    return Rope(base=source.base("rope_theta", base), layout="half")
