"""Ways to cut a model up so that it fits a machine."""

from collections.abc import Iterator
from dataclasses import dataclass

from celosia.compiler.layout import ceil_div
from celosia.config import MachineConfig

__all__ = ["Plan", "plans"]

#: Fewest rows of a block that is made to keep a tensor in the scratchpad.
MIN_ROWS = 8


@dataclass(frozen=True)
class Plan:
    """How a model is cut up to fit.

    Attributes
    ----------
    block : int
        Rows of the sequence that are worked on at once.
    resident : frozenset of str
        Tensors of the whole sequence that stay in the scratchpad: "x", "norm", "context".
    lookahead : bool
        Two heads, and two blocks of the feed-forward half, are there at a time, so that the
        array need not wait for its own results.
    narrow : bool
        No more rows of streamed weights are there at a time than a block has.
    padded : bool
        Strides are odd.
    """

    block: int
    resident: frozenset[str]
    lookahead: bool
    narrow: bool = False
    padded: bool = True


def plans(config: MachineConfig, tokens: int) -> Iterator[list[list[Plan]]]:
    """List plans in groups, those that keep the most in the scratchpad first.

    Within a group are rows of plans, one for each size of a block; of a row, the first plan that
    fits is the best.
    """
    loading = ceil_div(config.tile_bytes, config.memory_width)
    sizes = [ceil_div(tokens, ceil_div(tokens, config.accumulator_rows))]
    while sizes[-1] > 1:
        sizes.append(ceil_div(sizes[-1], 2))
    # Below this, a tile of weights takes longer to load than its rows take: rather spill.
    worth = min(sizes[0], max(loading, MIN_ROWS))
    for fits in (lambda size: size >= worth, lambda size: size < worth):
        for resident in (("x", "norm", "context"), ("x", "context"), ("x",), ()):
            yield [
                [
                    Plan(block, frozenset(resident), lookahead, narrow)
                    for lookahead, narrow in ((True, False), (False, False), (False, True))
                ]
                for block in filter(fits, sizes)
            ]
    yield [[Plan(1, frozenset(), lookahead=False, narrow=True, padded=False)]]
