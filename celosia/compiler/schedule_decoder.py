"""Lowers a placed decoder to one program for every number of tokens and every position.

Tokens come in blocks; what depends on their number and place are arguments. A block's keys and
values join the cache in memory first, and are read back with those before them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from celosia.compiler.decoder_shape import Argument, DecoderShape
from celosia.compiler.dependencies import hoist_loads, insert_tokens
from celosia.compiler.layout import MemoryLayout, ceil_div
from celosia.compiler.layout_decoder import PlacedDecoder, PlacedDecoderBlock, PlacedProduct
from celosia.compiler.layout_model import PlacedNorm
from celosia.compiler.layout_scratchpad import OutOfSpace, Region
from celosia.compiler.quantise_decoder import CONTEXT_SHIFT, KEY_SHIFT, ROPE_FRACTION
from celosia.compiler.schedule_parts import NONE, Builder, pieces
from celosia.compiler.schedule_plans import Plan
from celosia.config import MachineConfig
from celosia.errors import ModelError
from celosia.isa import Flag, Instruction, Opcode, Space

__all__ = ["DecoderSchedule", "schedule_decoder"]

#: Largest block of tokens that is tried, and pieces that the gated half is cut into, so that the
#: vector unit multiplies one while the array forms the next.
BLOCK, PIECES = 64, 4
#: Share of the scratchpad that logits may take.
LOGITS_SHARE = 8

_BY_TOKEN = {"m": Argument.TOKENS}


@dataclass(frozen=True)
class DecoderSchedule:
    """A program and what the host must know.

    Attributes
    ----------
    program : list of Instruction
        With tokens; addresses are to be linked.
    labels : list of str
        The layer of each instruction.
    input, logits, best : int
        Addresses of the rows that come in, of the logits, and of the largest logits.
    logit_words : int
        Words of a row of logits.
    cache : int
        Address of the first cache.
    shape : DecoderShape
        What the program is for.
    peaks : mapping of str to int
        Places of the scratchpad that are in use at once.
    """

    program: list[Instruction]
    labels: list[str]
    input: int
    logits: int
    best: int
    logit_words: int
    cache: int
    shape: DecoderShape
    peaks: Mapping[str, int]


class _Lowering:
    def __init__(
        self,
        model: PlacedDecoder,
        hidden: int,
        context: int,
        sequences: int,
        block: int,
        config: MachineConfig,
        memory: MemoryLayout,
    ) -> None:
        self.model, self.config, self.block = model, config, block
        self.builder = Builder(config, memory, Plan(block, frozenset(), lookahead=False))
        self.words = self.builder.words(hidden)
        self.unit = max(config.lanes, config.memory_width)
        self.context = ceil_div(context, self.unit) * self.unit
        self.heads = model.blocks[0].shape
        self.key_pitch = self.heads.kv_heads * self.heads.words * config.lanes
        self.layer_bytes = self.context * (self.key_pitch + self.heads.kv_heads * self.heads.v_rows)
        self.sequence_bytes = ceil_div(self.layer_bytes * len(model.blocks), 64) * 64
        self.cache = memory.reserve("cache", self.sequence_bytes * sequences)
        rows = config.accumulator_rows // self.heads.v_tiles
        fitting = min(rows, config.attention_rows) // block
        self.group = max(
            (
                n
                for n in range(1, self.heads.group + 1)
                if not self.heads.group % n and n <= fitting
            ),
            default=0,
        )
        if not self.group or block > config.accumulator_rows:
            raise OutOfSpace("accumulator rows", block * self.heads.v_tiles, rows)

    def run(self, hidden: int, context: int, sequences: int) -> DecoderSchedule:
        builder, config, model = self.builder, self.config, self.model
        pad = builder.pad
        row_bytes = self.words * config.word_bytes
        source = builder.memory.reserve("input", self.block * row_bytes)
        builder.layer = "embedding"
        x = pad.take(self.block, self.words)
        builder.load(x, source, adds={"rows": Argument.TOKENS})
        h = pad.take(self.block, self.words)
        self.units = pad.take(self.heads.v_rows, self.heads.v_words)
        builder.load(self.units, model.unit.weights, space=Space.ROWS8)
        for index, block in enumerate(model.blocks):
            builder.layer = f"block{index}.attention"
            self.attention(block, x, h, index)
            builder.layer = f"block{index}.ffn"
            self.feed_forward(block, x, h)
        builder.layer = "head"
        last = pad.take(self.block, self.words)
        self.norm(model.final_norm, x, last, {"m": Argument.SCORED, "x_base": Argument.LAST})
        pad.give(x)
        pad.give(h)
        pad.give(self.units)
        logits, best, words = self.score(model.head, last)
        builder.emit(Opcode.HALT)

        order = hoist_loads(builder.extents, config)
        linked = insert_tokens([builder.extents[index] for index in order], config)
        program = [
            replace(builder.program[index], wait=tokens.wait, signal=tokens.signal)
            for index, tokens in zip(order, linked, strict=True)
        ]
        return DecoderSchedule(
            program,
            [builder.labels[index] for index in order],
            source,
            logits,
            best,
            words,
            self.cache,
            DecoderShape(
                context=context,
                block=self.block,
                sequences=sequences,
                sequence_bytes=self.sequence_bytes,
                unit=self.unit,
                lanes=config.lanes,
                group=self.group,
                stream_stride=x.stride,
                value_stride=self.value_stride,
                key_pitch=self.key_pitch,
                turn_pitch=self.heads.words * config.word_bytes,
            ),
            {"scratchpad_words": pad.words.peak, "exponent_slots": pad.slots.peak},
        )

    def norm(
        self, norm: PlacedNorm, x: Region, y: Region, adds: Mapping[str, int] = _BY_TOKEN
    ) -> None:
        gains = self.builder.load_norm(norm)
        self.builder.norm(norm, gains, x, y, adds=adds)
        self.builder.pad.give(gains)

    def product(
        self,
        part: PlacedProduct,
        x: Region,
        y: Region,
        *,
        flags: Flag = NONE,
        channels: tuple[int, int] | None = None,
        rows: Argument = Argument.TOKENS,
    ) -> None:
        """Multiply by weights of 8 or 16 bits; the latter in two products, the second added."""
        adds, wide = {"m": rows}, Flag.WIDE if part.wide else NONE
        late = flags & (Flag.ACTIVATE | Flag.NARROW) if part.rest else NONE
        self.builder.matmul(
            part.main, x, y, flags=flags ^ late | wide, channels=channels, adds=adds
        )
        if part.rest:
            self.builder.matmul(
                part.rest, x, y, flags=Flag.RESIDUAL | late | wide, channels=channels, adds=adds
            )

    def attention(self, block: PlacedDecoderBlock, x: Region, h: Region, index: int) -> None:
        builder, pad, shape = self.builder, self.builder.pad, block.shape
        self.norm(block.norm1, x, h)
        turns = pad.take(self.block, shape.words)
        builder.load(
            turns,
            self.model.turns,
            adds={"rows": Argument.TOKENS, "address": Argument.TURN},
        )
        keys = self.cache + index * self.layer_bytes
        values = keys + self.context * self.key_pitch
        # Q first: the vector unit turns it while the array forms K, and K while it forms V.
        q = pad.take(self.block, shape.heads * shape.words)
        self.product(block.q, h, q)
        self.turn(q, turns, shape.words, ROPE_FRACTION, NONE)
        k = pad.take(self.block, shape.kv_heads * shape.words)
        self.product(block.k, h, k)
        self.turn(k, turns, shape.words, ROPE_FRACTION + KEY_SHIFT, Flag.NARROW)
        pad.give(turns)
        builder.store(
            k,
            keys,
            space=Space.ROWS8,
            adds={"rows": Argument.TOKENS, "address": Argument.KEY_PLACE},
            extent={"rows": self.context},
        )
        pad.give(k)
        self.new_values(block, h, values)

        y = pad.take(self.block, shape.heads * shape.v_words)
        for head in range(shape.kv_heads):
            self.attend(block, head, q, y, keys, values)
        pad.give(q)
        self.product(block.o, y, x, flags=Flag.RESIDUAL)
        pad.give(y)

    def turn(self, rows: Region, turns: Region, period: int, shift: int, flags: Flag) -> None:
        """Apply RoPE in place, all heads by the same row of cosines and sines."""
        self.builder.emit(
            Opcode.MULTIPLY,
            Flag.COMPLEX | flags,
            adds=_BY_TOKEN,
            m=rows.rows,
            words=rows.words,
            period=period,
            shift=shift,
            **rows.operand("x", slot=False),
            **turns.operand("w", slot=False),
            **rows.operand("y"),
        )

    def new_values(self, block: PlacedDecoderBlock, h: Region, address: int) -> None:
        """Form Vᵀ of the new tokens, in the lanes of their positions, and put it into the cache.

        V is formed like any other product. With the rows of the unit matrix streaming and V
        stationary the array then transposes it, a head at a time.
        """
        builder, pad, config, shape = self.builder, self.builder.pad, self.config, block.shape
        back = self.unit - 1
        # A token's lane is the number of its row: those before the first are skipped.
        room = pad.take(back + self.block, shape.kv_heads * shape.v_words)
        rows = room.part(back, self.block)
        self.value_stride = room.stride
        self.product(block.v, h, rows, flags=Flag.NARROW)
        words = ceil_div(back + self.block, self.unit) * self.unit // config.lanes
        y = pad.take(shape.kv_heads * shape.v_rows, words)
        for head in range(shape.kv_heads):
            v = rows.columns(head * shape.v_words)
            for first, count in pieces(shape.v_rows, config.accumulator_rows):
                builder.matmul_rows(
                    self.model.unit,
                    first,
                    self.units.part(first, count),
                    v,
                    y.part(head * shape.v_rows + first, count),
                    adds={
                        "n": Argument.LANE_END,
                        "w_base": Argument.LANE_ROWS,
                        "w_slot": Argument.LANE_SLOTS,
                    },
                    extent={
                        "n": back + self.block,
                        "w_base": v.base - back * v.stride,
                        "w_slot": v.slot - back,
                    },
                )
        builder.store(
            y,
            address,
            pitch=self.context,
            space=Space.ROWS8,
            adds={
                "words": Argument.VALUE_WORDS,
                "address": Argument.VALUE_PLACE,
                "first": Argument.LANE,
                "count": Argument.TOKENS,
            },
            extent={"words": self.context // config.lanes, "first": 0, "count": 0},
        )
        pad.give(room)
        pad.give(y)

    def attend(
        self,
        block: PlacedDecoderBlock,
        head: int,
        q: Region,
        y: Region,
        keys: int,
        values: int,
    ) -> None:
        """Attention of all queries that share one head of K."""
        builder, pad, shape, lanes = self.builder, self.builder.pad, block.shape, self.config.lanes
        k = pad.take(self.context, shape.words)
        builder.load(
            k,
            keys + head * shape.words * lanes,
            pitch=self.key_pitch,
            space=Space.ROWS8,
            adds={"rows": Argument.KEYS, "address": Argument.SEQUENCE},
        )
        v = pad.take(shape.v_rows, self.context // lanes)
        builder.load(
            v,
            values + head * shape.v_rows * self.context,
            pitch=self.context,
            space=Space.ROWS8,
            adds={"words": Argument.KEY_WORDS, "address": Argument.SEQUENCE},
        )
        multiplier, shift = block.logits[head]
        for first in range(head * shape.group, (head + 1) * shape.group, self.group):
            builder.attend(
                replace(q.columns(first * shape.words), rows=self.group * self.block),
                k,
                v,
                y.columns(first * shape.v_words),
                {
                    "t": self.context,
                    "period": self.block,
                    "d_tiles": shape.d_tiles,
                    "v_tiles": shape.v_tiles,
                    "x_group": shape.words,
                    "y_group": shape.v_words,
                    "multiplier": multiplier,
                    "shift": shift,
                    "y_shift": CONTEXT_SHIFT,
                },
                Flag.CAUSAL
                | (Flag.KEEP_EXPONENT if first else NONE)
                | (Flag.WIDE if block.wide_scores else NONE),
                adds={
                    "m": Argument.QUERIES,
                    "t": Argument.KEYS,
                    "period": Argument.TOKENS,
                    "diagonal": Argument.POSITION,
                },
            )
        pad.give(k)
        pad.give(v)

    def feed_forward(self, block: PlacedDecoderBlock, x: Region, h: Region) -> None:
        builder, pad, lanes = self.builder, self.builder.pad, self.config.lanes
        self.norm(block.norm2, x, h)
        builder.load_table(block.table)
        outputs = block.gate.main.outputs
        y = pad.take(self.block, builder.words(outputs))
        size = max(ceil_div(builder.words(outputs), PIECES), 1) * lanes
        for first, count in pieces(outputs, size):
            gate, up = (pad.take(self.block, builder.words(count)) for _ in range(2))
            word = first // lanes
            for part, rows, flags in (
                (block.gate, gate, Flag.ACTIVATE),
                (block.up, up, NONE),
            ):
                target = rows.columns(-word)
                self.product(part, h, target, flags=flags, channels=(first, count))
            builder.emit(
                Opcode.MULTIPLY,
                Flag.KEEP_EXPONENT if first else NONE,
                adds=_BY_TOKEN,
                m=self.block,
                words=gate.words,
                shift=block.product_shift,
                **gate.operand("x", slot=False),
                **up.operand("w", slot=False),
                **y.columns(word).operand("y"),
            )
            pad.give(gate)
            pad.give(up)
        self.product(block.down, y, x, flags=Flag.RESIDUAL)
        pad.give(y)

    def score(self, head: PlacedProduct, x: Region) -> tuple[int, int, int]:
        """Form the logits piece by piece, store them, and find the largest of each row."""
        builder, pad, config = self.builder, self.builder.pad, self.config
        outputs, lanes = head.main.outputs, config.lanes
        words = builder.words(outputs)
        pitch = words * config.word_bytes
        logits = builder.memory.reserve("logits", self.block * pitch)
        best = builder.memory.reserve("best", self.block * config.word_bytes)
        found = pad.take(self.block, 1)
        budget = config.scratchpad_words // LOGITS_SHARE // self.block
        for first, count in pieces(outputs, max(min(words, budget), 1) * lanes):
            y = pad.take(self.block, builder.words(count))
            word = first // lanes
            self.product(head, x, y.columns(-word), channels=(first, count), rows=Argument.SCORED)
            builder.store(
                y,
                logits + word * config.word_bytes,
                pitch=pitch,
                adds={"rows": Argument.SCORED},
            )
            builder.emit(
                Opcode.ARGMAX,
                Flag.CONTINUE if first else NONE,
                adds={"m": Argument.SCORED},
                m=self.block,
                n=count,
                words=y.words,
                first=first,
                **y.operand("x", slot=False),
                **found.operand("y"),
            )
            pad.give(y)
        builder.store(found, best, adds={"rows": Argument.SCORED})
        return logits, best, words


def schedule_decoder(
    model: PlacedDecoder,
    hidden: int,
    context: int,
    config: MachineConfig,
    memory: MemoryLayout,
    name: str,
    *,
    sequences: int = 1,
    block: int | None = None,
) -> DecoderSchedule:
    """Lower a decoder for the largest block of tokens that fits, or for `block`.

    Raises
    ------
    ModelError
        If not even a block of one token fits; the message names the layer and what it lacks.
    """
    size = min(BLOCK, context) if block is None else block
    while True:
        trial = memory.fork()
        layer = "attention"
        try:
            lowering = _Lowering(model, hidden, context, sequences, size, config, trial)
            layer = ""
            found = lowering.run(hidden, context, sequences)
            memory.adopt(trial)
            return found
        except OutOfSpace as error:
            if size == 1 or block is not None:
                layer = layer or lowering.builder.layer
                raise ModelError(
                    f"{name}: {layer}, {size} tokens at once, context {context}: {error.needed} "
                    f"{error.what} are needed, but configuration {config.name!r} has "
                    f"{error.there}; raise {error.what.replace(' ', '_')} or compile for a "
                    "shorter context"
                ) from None
            size = ceil_div(size, 2)
