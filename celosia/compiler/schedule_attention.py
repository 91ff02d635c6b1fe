"""Lowers the heads of one attention: Q, K and Vᵀ, then ATTEND, head by head."""

from celosia.compiler.layout_model import PlacedAttention
from celosia.compiler.layout_scratchpad import OutOfSpace, Region
from celosia.compiler.schedule_parts import Builder, Tensor, pieces
from celosia.isa import Flag

__all__ = ["lower_heads"]


def lower_heads(
    builder: Builder, part: PlacedAttention, source: Tensor, context: Tensor, tokens: int
) -> None:
    """Lower all heads, from `source` to `context`.

    With lookahead, the products of the next head come before the rest of this one: the array
    then need not wait for its own results.
    """
    ahead = 1 if builder.plan.lookahead else 0
    ready: list[tuple[int, Region, Region, Region]] = []
    for head in range(part.heads + ahead):
        if head < part.heads:
            ready.append((head, *project(builder, part, head, source, tokens)))
        if head >= ahead:
            attend(builder, part, context, *ready.pop(0))


def project(
    builder: Builder, part: PlacedAttention, head: int, source: Tensor, tokens: int
) -> tuple[Region, Region, Region]:
    """Lower Q, K and Vᵀ of one head."""
    config, plan = builder.config, builder.plan
    q = builder.pad.take(tokens, part.qk_words)
    k = builder.pad.take(tokens, part.qk_words)
    v = builder.pad.take(part.v_tiles * config.columns, builder.words(tokens))
    # Columns of Vᵀ are written by whole words.
    block = max(plan.block // config.lanes, 1) * config.lanes
    most = plan.block if plan.narrow else v.rows
    for first, rows in pieces(tokens, tokens if source.resident else block):
        x = source.open(first, rows)
        for row, m in pieces(rows, plan.block):
            for matrix, y in ((part.q[head], q), (part.k[head], k)):
                builder.matmul(matrix, x.part(row, m), y.part(first + row, m))
        columns = v.columns(first // config.lanes)
        builder.matmul_streamed(part.v[head], x, columns, most=most, keep=first > 0)
        source.close(x, first, store=False)
    return q, k, v


def attend(
    builder: Builder,
    part: PlacedAttention,
    context: Tensor,
    head: int,
    q: Region,
    k: Region,
    v: Region,
) -> None:
    """Lower the rest of one head, from Q, K and Vᵀ to its part of the context."""
    config = builder.config
    most = min(config.attention_rows, config.accumulator_rows // part.v_tiles)
    if not most:
        raise OutOfSpace("accumulator rows", part.v_tiles, config.accumulator_rows)
    word = head * part.v_words
    # Rows that are loaded again have their exponents found anew.
    keep = context.resident and head > 0
    operands = {
        "t": k.rows,
        "d_tiles": part.d_tiles,
        "v_tiles": part.v_tiles,
        "multiplier": part.multiplier,
        "shift": part.shift,
    }
    for first, rows in pieces(q.rows, min(most, builder.plan.block)):
        y = context.open(first, rows, load=False, word=word, words=part.v_words)
        builder.attend(
            q.part(first, rows), k, v, y, operands, Flag.KEEP_EXPONENT if keep else Flag(0)
        )
        context.close(y, first, word=word)
    for region in (q, k, v):
        builder.pad.give(region)
