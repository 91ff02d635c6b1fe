"""Text generation on a device: prefill, decode and caches of several sequences."""

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from celosia.compiler.emit_decoder import decoder_shape
from celosia.compiler.program import Program, Tensor
from celosia.errors import ModelError
from celosia.runtime.devices import Run, Session, Writes
from celosia.runtime.host import read_tensor

__all__ = ["Generator", "Sampler", "check_room", "embedded", "generate", "greedy", "sampler"]

#: Chooses a token from a row of logits.
Sampler = Callable[[NDArray[np.float64]], int]


class Generator:
    """A language model on a device, with a cache for each of its sequences.

    What cannot be done is refused before anything runs: caches then are as they were.

    Parameters
    ----------
    program : Program
        A decoder's.
    session : Session
        The program on a device.

    Attributes
    ----------
    shape : DecoderShape
        What the program was made for.
    lengths : list of int
        Tokens in the cache of each sequence.
    runs : list of Run
        What the device said of each run so far.
    """

    def __init__(self, program: Program, session: Session) -> None:
        self.program, self.session = program, session
        self.shape = decoder_shape(program)
        self.lengths = [0] * self.shape.sequences
        self.runs: list[Run] = []
        self._embedding = program.host["embedding"]
        (self._best,) = program.outputs
        self._logits = Tensor(**program.extra["logits"])
        self._scored = 0

    def reset(self, sequence: int = 0) -> None:
        """Forget a sequence.

        Raises
        ------
        ModelError
            If there is no such sequence.
        """
        self._check_sequence(sequence)
        self.lengths[sequence] = 0

    def truncate(self, length: int, sequence: int = 0) -> None:
        """Forget the tokens of a sequence from position `length` on, such as rejected drafts.

        Raises
        ------
        ModelError
            If the cache has fewer.
        """
        self._check_sequence(sequence)
        if not 0 <= length <= self.lengths[sequence]:
            raise ModelError(
                f"sequence {sequence} has {self.lengths[sequence]} tokens, not {length}"
            )
        self.lengths[sequence] = length

    def room(self, sequence: int = 0) -> int:
        """Return how many tokens the cache of a sequence has room for.

        Raises
        ------
        ModelError
            If there is no such sequence.
        """
        self._check_sequence(sequence)
        return self.shape.context - self.lengths[sequence]

    def prefill(self, tokens: Sequence[int], sequence: int = 0) -> int:
        """Take tokens into a cache; return the most likely next one.

        Raises
        ------
        ModelError
            If there are none, one is not in the vocabulary, or the cache has no room for them.
        """
        self._check(tokens, sequence)
        best, block = 0, self.shape.block
        for first in range(0, len(tokens), block):
            best = int(self._run(tokens[first : first + block], 1, sequence)[-1])
        return best

    def decode(self, token: int, sequence: int = 0) -> int:
        """Take one token into a cache; return the most likely next one."""
        return self.prefill([token], sequence)

    def score(self, tokens: Sequence[int], sequence: int = 0) -> NDArray[np.int64]:
        """Take tokens into a cache in one run; return the most likely token behind each.

        That is how drafts are verified: the weights are read once for all of them.

        Raises
        ------
        ModelError
            As `prefill`, or if there are more tokens than one run takes.
        """
        self._check(tokens, sequence)
        return self._run(tokens, len(tokens), sequence)

    def logits(self) -> NDArray[np.float64]:
        """Return the logits behind the tokens that the last run scored: (scored, vocabulary).

        Raises
        ------
        ModelError
            If nothing has run.
        """
        tensor, scored = self._logits, self._scored
        if not scored:
            raise ModelError(f"{self.program.model}: there are no logits before the first token")
        data = self.session.read(tensor.address, scored * tensor.pitch)
        rows = np.frombuffer(data, "<i2").reshape(scored, -1)[:, : tensor.columns]
        return rows * np.asarray(tensor.scale, np.float64)

    def _run(self, tokens: Sequence[int], scored: int, sequence: int) -> NDArray[np.int64]:
        position = self.lengths[sequence]
        arguments = self.shape.arguments(position, len(tokens), scored=scored, sequence=sequence)
        run = self.session.run(embedded(self.program, tokens), arguments)
        self.runs.append(run)
        self.lengths[sequence] += len(tokens)
        self._scored = scored
        found = read_tensor(self._best, run.read)[:scored].astype(np.int64) & 0xFFFF
        return found[:, 1] | found[:, 2] << 16

    def _check_sequence(self, sequence: int) -> None:
        if not 0 <= sequence < self.shape.sequences:
            raise ModelError(
                f"sequence must be 0 to {self.shape.sequences - 1}, not {sequence}; compile the "
                "model for more sequences"
            )

    def _check(self, tokens: Sequence[int], sequence: int) -> None:
        there = self.room(sequence)
        if not len(tokens):
            raise ModelError("prompt: there must be one token at least")
        vocabulary = len(self._embedding)
        for token in tokens:
            if not 0 <= token < vocabulary:
                raise ModelError(f"token id must be 0 to {vocabulary - 1}, not {token}")
        if len(tokens) > there:
            raise ModelError(
                f"sequence {sequence}: its cache of {self.shape.context} positions has room for "
                f"{there} more tokens, not {len(tokens)}; shorten the prompt, reset the sequence, "
                "or compile with a larger --context"
            )


def embedded(program: Program, tokens: Sequence[int]) -> Writes:
    """Return what to write into the window for a run on token ids."""
    (tensor,) = program.inputs
    codes = np.rint(program.host["embedding"][np.asarray(tokens)] / tensor.scale)
    rows = np.zeros((len(tokens), tensor.pitch // 2), "<i2")
    rows[:, : tensor.columns] = np.clip(codes, -32768, 32767)
    return [(tensor.address, rows.tobytes())]


def greedy(logits: NDArray[np.float64]) -> int:
    """Return the most likely token, the first of those."""
    return int(np.argmax(logits))


def sampler(temperature: float, seed: int) -> Sampler:
    """Return a function that draws tokens; `temperature` must be positive."""
    rng = np.random.default_rng(seed)

    def draw(logits: NDArray[np.float64]) -> int:
        scaled = (logits - logits.max()) / temperature
        powers = np.exp(scaled)
        return int(rng.choice(len(powers), p=powers / powers.sum()))

    return draw


def check_room(tokens: int, count: int, room: int) -> None:
    """Check that a prompt of `tokens` and `count` tokens behind it fit a cache.

    Raises
    ------
    ModelError
        If they do not; the last one written needs no room.
    """
    if tokens + count - 1 > room:
        raise ModelError(
            f"prompt: {tokens} tokens and {count} more do not fit the {room} positions left in "
            f"the cache; at most {max(room - tokens + 1, 0)} can follow"
        )


def generate(
    generator: Generator,
    prompt: Sequence[int],
    count: int,
    *,
    stop: Collection[int] = (),
    choose: Sampler | None = None,
    sequence: int = 0,
) -> Iterator[int]:
    """Yield up to `count` tokens behind a prompt, ending before one of `stop`.

    Parameters
    ----------
    generator : Generator
        The model; what its sequence has already comes before the prompt.
    prompt : sequence of int
        Token ids.
    count : int
        Most tokens to yield.
    stop : collection of int
        Tokens that end a text.
    choose : callable, optional
        Draws a token from logits on the host; the machine's own most likely one by default.
    sequence : int
        Whose cache.

    Raises
    ------
    ModelError
        If prompt and `count` tokens do not fit the cache; nothing has run then.
    """
    check_room(len(prompt), count, generator.room(sequence))
    token = generator.prefill(prompt, sequence)
    for index in range(count):
        if choose is not None:
            token = choose(generator.logits()[-1])
        if token in stop:
            return
        yield token
        if index + 1 < count:
            token = generator.decode(token, sequence)
