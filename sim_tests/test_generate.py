from collections import Counter

import numpy as np
import pytest
from decoder_runs import build, cache, opened, samples_of, tokens_of

from celosia.compiler.compile_decoder import compile_decoder
from celosia.compiler.program import Program
from celosia.config import PRESETS
from celosia.errors import DeviceError, ModelError
from celosia.isa import REGISTERS
from celosia.runtime.compare import Difference
from celosia.runtime.devices import Run
from celosia.runtime.generate import Generator, generate, greedy, sampler
from celosia.runtime.golden_device import GoldenDevice
from celosia.runtime.lockstep import LockstepSession

SMALL = PRESETS["small"]
CONTEXT = 12


@pytest.fixture(scope="module")
def decoder():
    return build(max_position_embeddings=CONTEXT)


@pytest.fixture(scope="module")
def program(decoder):
    """For two sequences, and runs of up to five tokens."""
    samples = samples_of(decoder)
    return compile_decoder(decoder, SMALL, samples=samples, precision="A16W8", sequences=2, block=5)


def write(generator, prompt, count, **options):
    return list(generate(generator, prompt, count, **options))


def test_the_machine_takes_the_most_likely_token(decoder, program):
    prompt = tokens_of(decoder, 7)
    machine, host, rows = opened(program), opened(program), []

    def choose(logits):
        rows.append(logits)
        return greedy(logits)

    found = write(machine, prompt, 6)
    assert len(found) == 6
    assert write(host, prompt, 6, choose=choose) == found
    assert [int(row.argmax()) for row in rows] == found
    assert all(row.shape == (decoder.vocabulary,) for row in rows)
    # Prompts longer than a run take several; what is written last is not read again.
    assert len(machine.runs) == 2 + 5 and machine.lengths == [12, 0]
    # By hand, and in two parts.
    other = opened(program)
    by_hand = [other.prefill(prompt)]
    by_hand += [other.decode(token) for token in found[:-1]]
    assert by_hand == found
    other.reset()
    first = write(other, prompt, 3)
    assert first + write(other, first[-1:], 3) == found


def test_the_first_of_equal_logits_is_greedy():
    assert greedy(np.array([0.0, 3, 1, 3])) == 1


def test_a_text_ends_before_a_stop(decoder, program):
    prompt = tokens_of(decoder, 4)
    found = write(opened(program), prompt, 8)
    for stop in set(found):
        generator = opened(program)
        where = found.index(stop)
        assert write(generator, prompt, 8, stop={stop}) == found[:where]
        assert generator.lengths[0] == 4 + where
    absent = set(range(decoder.vocabulary)) - set(found)
    assert write(opened(program), prompt, 8, stop=absent) == found
    assert write(opened(program), prompt, 0) == []


def test_what_is_drawn_follows_the_seed(decoder, program):
    prompt = tokens_of(decoder, 3)
    texts = [write(opened(program), prompt, 9, choose=sampler(2.0, seed)) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1]
    assert len({tuple(text) for text in texts}) == 3
    cold = write(opened(program), prompt, 9, choose=sampler(1e-4, 1))
    assert cold == write(opened(program), prompt, 9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_tokens_are_drawn_as_likely_as_they_are(temperature):
    logits = np.array([1000.0, 1001, 998, -1e6])
    powers = np.exp((logits - 1001) / temperature)
    expected = powers / powers.sum()
    draw, count = sampler(temperature, 4), 20_000
    found = Counter(draw(logits) for _ in range(count))
    shares = np.array([found[token] / count for token in range(4)])
    assert found[3] == 0
    # Four standard deviations.
    np.testing.assert_array_less(
        abs(shares - expected), 4 * np.sqrt(expected * (1 - expected) / count) + 1e-12
    )


REFUSED = {
    "no prompt": (lambda g: g.prefill([]), "there must be one token at least"),
    "no drafts": (lambda g: g.score([]), "there must be one token at least"),
    "token too large": (lambda g: g.prefill([1, 27, 2]), "token id must be 0 to 26, not 27"),
    "token negative": (lambda g: g.decode(-1), "token id must be 0 to 26, not -1"),
    "late token": (lambda g: g.prefill([0] * 6 + [99]), "token id must be 0 to 26, not 99"),
    "cache full": (
        lambda g: g.decode(0, 1),
        "sequence 1: its cache of 12 positions has room for 0",
    ),
    "prompt too long": (
        lambda g: g.prefill([0] * 9),
        r"sequence 0: its cache of 12 .* room for 8 more tokens, not 9; .*a larger --context",
    ),
    "drafts too many": (lambda g: g.score([0] * 6), "a run takes 1 to 5 tokens, not 6"),
    "unknown sequence": (lambda g: g.prefill([0], 2), "sequence must be 0 to 1, not 2; compile"),
    "negative sequence": (lambda g: g.decode(0, -1), "sequence must be 0 to 1, not -1"),
    "unknown reset": (lambda g: g.reset(2), "sequence must be 0 to 1, not 2"),
    "unknown room": (lambda g: g.room(-1), "sequence must be 0 to 1, not -1"),
    "unknown truncation": (lambda g: g.truncate(0, 5), "sequence must be 0 to 1, not 5"),
    "truncated above": (lambda g: g.truncate(5), "sequence 0 has 4 tokens, not 5"),
    "truncated below": (lambda g: g.truncate(-1), "sequence 0 has 4 tokens, not -1"),
    "text too long": (
        lambda g: write(g, [0, 1], 8),
        "2 tokens and 8 more do not fit the 8 positions left in the cache; at most 7 can follow",
    ),
    "text of a long prompt": (lambda g: write(g, [0] * 10, 1), "at most 0 can follow"),
    "text without a prompt": (lambda g: write(g, [], 2), "there must be one token at least"),
    "text of no token": (lambda g: write(g, [27], 2), "token id must be 0 to 26, not 27"),
    "text of no sequence": (lambda g: write(g, [0], 2, sequence=2), "sequence must be 0 to 1"),
    "text of a negative one": (lambda g: write(g, [0], 2, sequence=-1), "sequence must be 0 to 1"),
}


@pytest.fixture(scope="module")
def busy(decoder, program):
    """A generator with four tokens in one sequence, and a full one."""
    generator = opened(program)
    generator.prefill(tokens_of(decoder, CONTEXT, seed=1), 1)
    generator.prefill(tokens_of(decoder, 4))
    return generator


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_leave_everything_as_it_was(busy, case):
    attempt, message = REFUSED[case]
    memory, runs = busy.session.memory.copy(), len(busy.runs)
    with pytest.raises(ModelError, match=message):
        attempt(busy)
    np.testing.assert_array_equal(busy.session.memory, memory)
    assert (busy.lengths, len(busy.runs)) == ([4, CONTEXT], runs)
    assert (busy.room(), busy.room(1)) == (8, 0)


def test_after_a_refusal_it_goes_on(decoder, program):
    tokens = tokens_of(decoder, 9)
    expected = opened(program)
    expected.prefill(tokens)
    generator = opened(program)
    generator.prefill(tokens[:4])
    for case, (attempt, _) in REFUSED.items():
        if case != "cache full":  # the other sequence is empty here
            with pytest.raises(ModelError):
                attempt(generator)
    generator.prefill(tokens[4:])
    np.testing.assert_array_equal(cache(generator), cache(expected))
    np.testing.assert_array_equal(generator.logits(), expected.logits())


def test_each_sequence_is_forgotten_alone(decoder, program):
    generator = opened(program)
    for sequence in range(2):
        generator.prefill(tokens_of(decoder, 6, seed=sequence), sequence)
    generator.truncate(4, 1)
    assert generator.lengths == [6, 4] and [generator.room(0), generator.room(1)] == [6, 8]
    generator.reset(0)
    assert generator.lengths == [0, 4]
    generator.truncate(4, 1)
    generator.truncate(0, 1)
    assert generator.lengths == [0, 0]
    assert generator.prefill([3, 4], 1) == opened(program).prefill([3, 4])


def test_there_are_no_logits_before_a_run(program):
    with pytest.raises(ModelError, match="odd: there are no logits before the first token"):
        opened(program).logits()


def test_a_fault_takes_no_tokens(decoder, program):
    generator = opened(program)
    generator.prefill([1, 2])
    session = generator.session

    class Broken:
        def run(self, writes, arguments):
            raise DeviceError("the machine stopped")

    generator.session = Broken()
    with pytest.raises(DeviceError):
        generator.prefill(tokens_of(decoder, 7))
    assert generator.lengths == [2, 0] and len(generator.runs) == 1
    generator.session = session
    assert generator.decode(3) == opened(program).prefill([1, 2, 3])


def test_an_encoder_writes_no_text():
    program = Program(
        config=SMALL, model="bert", image=bytes(64), sections=(), inputs=(), outputs=(), tokens=1
    )
    with pytest.raises(ModelError, match="bert: not a language model"):
        Generator(program, GoldenDevice(SMALL).open(program))


def lockstep(program):
    golden, other = (GoldenDevice(program.config).open(program) for _ in range(2))
    return LockstepSession(program, golden, other)


def test_equal_machines_do_not_differ(decoder, program):
    session = lockstep(program)
    generator = Generator(program, session)
    found = write(generator, tokens_of(decoder, 4), 5, choose=greedy)
    assert found == write(opened(program), tokens_of(decoder, 4), 5)
    runs, size = len(generator.runs), session.golden.memory.size
    assert runs == 5
    best, row = program.outputs[0], program.extra["logits"]["pitch"]
    read = runs * (best.rows * best.pitch + row)
    assert session.bytes_compared == read
    comparison = session.compare_memory()
    assert (comparison.mismatches, comparison.differences) == (0, ())
    assert comparison.bytes_compared == read + size


def test_a_wrong_byte_is_found_where_it_is(decoder, program):
    session = lockstep(program)
    generator = Generator(program, session)
    generator.prefill(tokens_of(decoder, 4))
    # Where nobody looks, in the cache of the other sequence: the end tells.
    address = program.extra["cache"]["address"] + generator.shape.sequence_bytes + 5
    session.other.memory[address] ^= 0x81
    generator.decode(3)
    assert session.differences == []
    (found,) = session.compare_memory().differences
    assert found == Difference("memory after run 2", address, 1, 0, 0x81)
    assert session.compare_memory().mismatches == 2  # both times


def test_a_wrong_result_is_found_at_once(decoder, program):
    session = lockstep(program)
    generator = Generator(program, session)
    generator.prefill(tokens_of(decoder, 4))
    # All of the other machine's weights of the head.
    weights = program.section("lm_head.weight")
    session.other.memory[weights.address :][: weights.bytes] = 1
    generator.decode(3)
    best = program.outputs[0]
    assert {found.where for found in session.differences} >= {"output best of run 1"}
    first = session.differences[0]
    assert best.address <= first.address < best.address + best.pitch
    right, given = (one.memory[first.address] for one in (session.golden, session.other))
    assert (first.expected, first.given) == (right, given)
    before = len(session.differences)
    logits = generator.logits()
    assert {one.where for one in session.differences[before:]} == {"memory after run 2"}
    # What is read comes from the machine under test: here its logits are all alike but for scale.
    place, size = program.extra["logits"]["address"], 2 * decoder.vocabulary
    row = session.other.memory[place:][:size].view("<i2")
    np.testing.assert_array_equal(logits[0], row * program.extra["logits"]["scale"])


def test_counters_are_compared(decoder, program):
    session = lockstep(program)
    run = session.other.run

    def counting(writes, arguments):
        found = run(writes, arguments)
        return Run(found.outputs, {**found.counters, "mac_rows": found.counters["mac_rows"] + 1})

    session.other.run = counting
    Generator(program, session).prefill(tokens_of(decoder, 4))
    (found,) = session.differences
    assert found.where == "counter mac_rows of run 0" and found.address == REGISTERS["mac_rows"]
    assert found.given == found.expected + 1


def test_both_sessions_are_written_and_closed(program):
    session = lockstep(program)
    closed = []
    for name, one in (("golden", session.golden), ("other", session.other)):
        one.close = lambda name=name: closed.append(name)
    with session:
        address = program.inputs[0].address
        session.write(address, b"abcd")
        assert session.golden.read(address, 4) == session.read(address, 4) == b"abcd"
    assert sorted(closed) == ["golden", "other"]
