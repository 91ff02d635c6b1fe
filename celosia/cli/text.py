"""Text from language models: what `celosia run` and `celosia simulate` do with their programs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from celosia.cli.common import number, out
from celosia.compiler.emit_decoder import decoder_shape
from celosia.compiler.program import Program
from celosia.compiler.text import Codec, load_codec
from celosia.errors import CelosiaError, ModelError
from celosia.runtime.devices import Session
from celosia.runtime.generate import Generator, Sampler, check_room, generate, sampler

__all__ = [
    "Prompt",
    "PromptOption",
    "SeedOption",
    "TemperatureOption",
    "Text",
    "TokensOption",
    "is_decoder",
    "read_prompt",
    "refuse_prompt",
    "write_text",
]

PromptOption = Annotated[
    str | None,
    typer.Option("--prompt", metavar="TEXT", help="Language models: the text to go on from."),
]
TokensOption = Annotated[
    int, typer.Option("--tokens", metavar="N", min=1, help="Language models: most tokens to write.")
]
TemperatureOption = Annotated[
    float,
    typer.Option(
        min=0.0,
        help="Language models: draw tokens on the host; 0 takes the most likely one, which the "
        "machine finds itself.",
    ),
]
SeedOption = Annotated[int, typer.Option(help="Language models: seed of what is drawn.")]


@dataclass(frozen=True)
class Prompt:
    """What a language model is given.

    Attributes
    ----------
    text : str
        The prompt.
    ids : list of int
        The same as tokens.
    count : int
        Most tokens to write behind them.
    codec : Codec
        The model's vocabulary.
    """

    text: str
    ids: list[int]
    count: int
    codec: Codec


@dataclass(frozen=True)
class Text:
    """What a language model has written.

    Attributes
    ----------
    prompt, text : str
        What it was given, and what it wrote.
    prompt_ids, ids : list of int
        The same as tokens.
    cycles : list of int
        Cycles of each run, if the device counts them.
    """

    prompt: str
    text: str
    prompt_ids: list[int]
    ids: list[int]
    cycles: list[int]

    def record(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "prompt": self.prompt,
            "text": self.text,
            "prompt_tokens": self.prompt_ids,
            "tokens": self.ids,
            **({"cycles": self.cycles} if self.cycles else {}),
        }


def is_decoder(program: Program) -> bool:
    """Say whether a program is a language model's."""
    return "shape" in program.extra


def refuse_prompt(program: Program, prompt: str | None) -> None:
    """Refuse a prompt for a model that does not take one."""
    if prompt is not None:
        raise CelosiaError(
            f"{program.model}: takes no --prompt, it is not a language model; give an --input"
        )


def read_prompt(program: Program, text: str | None, count: int) -> Prompt:
    """Turn a prompt into tokens, before anything long begins.

    Raises
    ------
    ModelError
        If there is no prompt, the vocabulary cannot say it, or the cache is too small for it and
        `count` tokens.
    """
    if not text:
        raise ModelError(f'{program.model}: a language model needs a --prompt "…" to go on from')
    codec = load_codec(str(program.extra.get("source", program.model)))
    ids = codec.encode(text)
    check_room(len(ids), count, decoder_shape(program).context)
    return Prompt(text, ids, count, codec)


def write_text(
    program: Program,
    session: Session,
    prompt: Prompt,
    *,
    temperature: float = 0.0,
    seed: int = 0,
) -> Text:
    """Let a model go on from a prompt, its text printed as it comes."""
    codec, generator = prompt.codec, Generator(program, session)
    choose: Sampler | None = sampler(temperature, seed) if temperature else None
    tokens = generate(generator, prompt.ids, prompt.count, stop=codec.stop, choose=choose)
    found = _stream(codec, prompt.text, tokens)
    cycles = [run.counters["cycles"] for run in generator.runs if "cycles" in run.counters]
    text = Text(prompt.text, codec.decode(found), prompt.ids, found, cycles)
    _say(text)
    return text


def _stream(codec: Codec, prompt: str, tokens: Iterable[int]) -> list[int]:
    """Print text token by token; a character may take several."""
    found: list[int] = []
    shown = ""
    out.print(prompt, end="", style="dim", highlight=False, markup=False, soft_wrap=True)
    try:
        for token in tokens:
            found.append(token)
            text = codec.decode(found)
            if not text.endswith("\N{REPLACEMENT CHARACTER}"):
                out.print(text[len(shown) :], end="", highlight=False, markup=False, soft_wrap=True)
                shown = text
    finally:
        out.print()
    return found


def _say(text: Text) -> None:
    cycles: Sequence[int] = text.cycles
    line = f"{len(text.prompt_ids)} tokens read, {len(text.ids)} written"
    if cycles:
        line += f"; {number(cycles[0])} cycles for the first run"
    if len(cycles) > 1:
        mean = sum(cycles[1:]) / len(cycles[1:])
        line += f", {number(mean)} for each other"
    out.print(line, style="dim", highlight=False)
