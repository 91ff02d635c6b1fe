"""Lowers the layers of a decoder to instructions for a block of tokens, wherever it stands."""

from collections.abc import Mapping
from dataclasses import replace

from celosia.compiler.decoder_shape import Argument
from celosia.compiler.layout import MemoryLayout, ceil_div
from celosia.compiler.layout_decoder import PlacedDecoder, PlacedDecoderBlock, PlacedProduct
from celosia.compiler.layout_model import PlacedNorm
from celosia.compiler.layout_scratchpad import OutOfSpace, Region
from celosia.compiler.quantise_decoder import CONTEXT_SHIFT, KEY_SHIFT, ROPE_FRACTION
from celosia.compiler.schedule_parts import NONE, Builder, pieces
from celosia.compiler.schedule_plans import Plan
from celosia.config import MachineConfig
from celosia.isa import Flag, Opcode, Space

__all__ = ["DecoderLowering"]

#: Pieces that the gated half is cut into, so that the vector unit multiplies one while the array
#: forms the next.
PIECES = 4

BY_TOKEN = {"m": Argument.TOKENS}


class DecoderLowering:
    """What all layers share: the builder, the shape of the heads, where the cache lies.

    Parameters
    ----------
    model : PlacedDecoder
        The constants.
    context, sequences : int
        Positions of a sequence, and sequences.
    block : int
        Most tokens of a run.
    config : MachineConfig
        The machine.
    memory : MemoryLayout
        Where the cache is reserved.

    Attributes
    ----------
    unit : int
        Values of a beat or a word, whichever is larger.
    context : int
        Positions, rounded up to whole units.
    group : int
        Heads that share a head of K in one instruction.
    value_stride : int
        Words from row to row of V.
    """

    def __init__(
        self,
        model: PlacedDecoder,
        context: int,
        sequences: int,
        block: int,
        config: MachineConfig,
        memory: MemoryLayout,
    ) -> None:
        self.model, self.config, self.block = model, config, block
        self.builder = Builder(config, memory, Plan(block, frozenset(), lookahead=False))
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
        self.value_stride = 0
        self.units = self.builder.pad.take(self.heads.v_rows, self.heads.v_words)
        self.builder.layer = "embedding"
        self.builder.load(self.units, model.unit.weights, space=Space.ROWS8)

    def norm(
        self, norm: PlacedNorm, x: Region, y: Region, adds: Mapping[str, int] = BY_TOKEN
    ) -> None:
        """Normalise rows."""
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
        """Multiply by weights of 8 or 16 bits; the latter in two products, the second added.

        So are rows whose outliers alone keep 16 bits: the first product has 0 in their place.
        """
        builder = self.builder
        adds, wide = {"m": rows}, Flag.WIDE if part.wide else NONE
        late = flags & (Flag.ACTIVATE | Flag.NARROW) if part.rest else NONE
        plain = x
        if part.mask is not None:
            wide, plain = Flag.WIDE, self.masked(part.mask, x, adds)
        first = flags ^ late | (Flag.WIDE if part.wide else NONE)
        builder.matmul(part.main, plain, y, flags=first, channels=channels, adds=adds)
        if part.rest:
            second = Flag.RESIDUAL | late | wide
            builder.matmul(part.rest, x, y, flags=second, channels=channels, adds=adds)
        if part.mask is not None:
            builder.pad.give(plain)

    def masked(self, mask: int, x: Region, adds: Mapping[str, Argument]) -> Region:
        """Return rows without their outliers, whose exponents then are those of the others."""
        builder = self.builder
        row = builder.pad.take(1, x.words)
        builder.load(row, mask)
        plain = builder.pad.take(x.rows, x.words)
        builder.emit(
            Opcode.MULTIPLY,
            NONE,
            adds,
            m=x.rows,
            words=x.words,
            w_base=row.base,
            **x.operand("x", slot=False),
            **plain.operand("y"),
        )
        builder.pad.give(row)
        return plain

    def attention(self, block: PlacedDecoderBlock, x: Region, h: Region, index: int) -> None:
        """Lower the attention of layer `index`; `x` is the residual stream, `h` for its norm."""
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
            BY_TOKEN,
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
        """Lower the gated half of a layer, as `attention`."""
        builder, pad, lanes = self.builder, self.builder.pad, self.config.lanes
        self.norm(block.norm2, x, h)
        builder.load_table(block.table)
        outputs = block.gate.main.outputs
        y = pad.take(self.block, builder.words(outputs))
        step = max(builder.step(block.gate.main), builder.step(block.up.main))
        size = max(ceil_div(ceil_div(outputs, step), PIECES), 1) * step
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
                BY_TOKEN,
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
