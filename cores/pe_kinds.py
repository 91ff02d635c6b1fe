"""The kinds of processing element, and what they have in common.

A kind is a component class. Beside the members of `celosia.cores.pe.ProcessingElement` it has

- `weight_shape`: shape of a weight as it is loaded, a code word but for `multiply`;
- `modes`: ways to read a weight, chosen for each tile;
- `products`: how many results one element adds to, and of each the range of one product;
- `latency`: cycles from activation to sum;
- `recode(weight, mode)` and `prepare(activation)`: what is formed once for all columns of a row;
- `addends` and `sums`: its passing sums, as many as `products`;
- `partials` and `foot`: of each passing sum, the range of what one element adds; and the component
  that makes the results of a column of them, `foot.latency` cycles later. Most kinds have no foot:
  their passing sums are the results.

Every kind streams operands of 9 bits, probabilities from 0 to 255 included. The stationary operand
of attention is int8: `multiply` can hold it, `packed` and `switchable` in mode 0; others cannot.

========== ==================================== ========= ===========
Kind       Weight                               Products  Multipliers
========== ==================================== ========= ===========
multiply   int8                                 1         1
packed     int8, two int4 or two fp4, by mode   1 or 2    1
int4       int4                                 1         0
fp4        E2M1, as twice its value             1         0
ternary    -1, 0, 1 of two bits                 1         0
switchable int8, two int4 or four int2, by mode 1, 2 or 4 0
========== ==================================== ========= ===========
"""

from typing import Any

from amaranth import Module, Mux, Signal, Value

from celosia.cores.pe import ProcessingElement
from celosia.cores.pe_packed import PackedElement
from celosia.cores.pe_shift import Fp4Element, Int4Element, TernaryElement
from celosia.cores.pe_switchable import SwitchableElement
from celosia.errors import ConfigError

__all__ = ["KINDS", "element_kind", "mode_in_use", "sum_width"]

#: Classes by the name of their kind.
KINDS: dict[str, Any] = {
    "multiply": ProcessingElement,
    "packed": PackedElement,
    "int4": Int4Element,
    "fp4": Fp4Element,
    "ternary": TernaryElement,
    "switchable": SwitchableElement,
}


def element_kind(name: str) -> Any:
    """Return the class of a kind.

    Raises
    ------
    ConfigError
        If there is no such kind.
    """
    if name not in KINDS:
        raise ConfigError(f"PE kind {name!r} is not known; known: {', '.join(KINDS)}")
    return KINDS[name]


def mode_in_use(m: Module, load: Value, mode: Value, swap: Value) -> Value:
    """Return how the weights are read that are in use, from the activation on that swaps.

    Parameters
    ----------
    m : Module
        Where to keep it.
    load, mode : Value
        A weight is loaded; how to read it.
    swap : Value
        The weights loaded come into use.
    """
    loaded, active = Signal.like(mode, name="mode_loaded"), Signal.like(mode, name="mode_active")
    with m.If(load):
        m.d.sync += loaded.eq(mode)
    with m.If(swap):
        m.d.sync += active.eq(loaded)
    return Mux(swap, loaded, active)


def sum_width(product: tuple[int, int], terms: int) -> int:
    """Bits of a signed sum of some products, each of them in a range that holds 0."""
    low, high = product
    return max((-low * terms - 1).bit_length(), (high * terms).bit_length()) + 1
