"""What the vector unit computes: norms, products and largest elements of int16 rows."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.argmax import RESULT_LANES, RowArgmax
from celosia.cores.layernorm_chunks import RowChunker
from celosia.cores.layernorm_scale import RowScaler
from celosia.cores.layernorm_sums import RowSums
from celosia.cores.multiply_lane import MAX_SHIFT, PRODUCT_SHIFT, Element
from celosia.cores.multiply_rows import RowMultiplier

__all__ = ["Element", "RowFunction", "RowFunctions", "RowParameters"]


class RowFunction(enum.Enum, shape=2):
    """What is done with rows."""

    NORM = 0
    MULTIPLY = 1
    ARGMAX = 2


class RowParameters(data.Struct):
    """What rows have in common.

    `n` elements, `words` words, right shift of the products, `epsilon` of a norm, `first` index of
    an ARGMAX; `rms`, `complex`, `narrow` and `continues` each for the function that has it.
    """

    function: RowFunction
    n: 16
    words: 16
    shift: 8
    epsilon: 32
    first: 32
    rms: 1
    complex: 1
    narrow: 1
    continues: 1


class RowFunctions(wiring.Component):
    """LayerNorm, RMSNorm, products and largest elements, bit for bit as the golden machine's.

    For a norm, each row of 1 to 4096 elements comes twice: on `rows` for its sums, and on
    `elements` with gains and offsets, which gives the result. Words may be more than elements
    fill: lanes from n on do not count, and are 0 in the result. Both passes take a word in L/V
    cycles, V being `vector_lanes`. Between them pass about 115 cycles, in which other rows can be
    summed: a row takes `max(words·L/V, ROW_CYCLES)` cycles when enough rows are under way.

    For a product, rows come on `elements` only, the factors as beta and gamma; all lanes count.

    For the largest element, each row comes on `rows`, and then one word on `elements`: with the
    result so far as beta, where the search goes on from one. It gives the result.

    Up to `capacity` rows of a norm, or `RowArgmax.capacity`, may have come on `rows` and not yet,
    to their end, on `elements`; the next one may have to wait. Whoever feeds both from one port
    must count, by `scaled` and `applied`, or the port may be blocked for ever.

    Parameters
    ----------
    config : MachineConfig
        Lanes of a word and of the vector unit.

    Members
    -------
    parameters : In(RowParameters)
        Of all rows; constant from the cycle before their first word to the last result.
    rows : In(stream.Signature(data.ArrayLayout(signed(16), L)))
        Words of the rows.
    elements : In(stream.Signature(data.ArrayLayout(Element, L)))
        Words of the rows again, or for the first time.
    o : Out(stream.Signature(data.ArrayLayout(signed(16), L)))
        Words of the result, in order.
    scaled : Out(1)
        One more row can come on `elements` without a wait for what `rows` gives.
    applied : Out(1)
        The last elements of a row were taken.
    """

    #: Cycles that the scalars of a row of a norm take, if its words do not take longer.
    ROW_CYCLES = 43
    #: Rows of a norm that it can hold between the passes.
    capacity = RowSums.DEPTH + RowScaler.capacity

    parameters: RowParameters
    rows: stream.Interface
    elements: stream.Interface
    o: stream.Interface
    scaled: Signal
    applied: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "parameters": In(RowParameters),
            "rows": In(stream.Signature(data.ArrayLayout(signed(16), config.lanes))),
            "elements": In(stream.Signature(data.ArrayLayout(Element, config.lanes))),
            "o": Out(stream.Signature(data.ArrayLayout(signed(16), config.lanes))),
            "scaled": Out(1),
            "applied": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        sizes = self.config.lanes, self.config.vector_lanes
        m.submodules.row_chunks = row_chunks = RowChunker(signed(16), *sizes)
        m.submodules.sums = sums = RowSums(self.config.vector_lanes)
        m.submodules.scaler = scaler = RowScaler()
        m.submodules.argmax = argmax = RowArgmax(self.config.vector_lanes)
        m.submodules.element_chunks = element_chunks = RowChunker(Element, *sizes)
        m.submodules.multiplier = multiplier = RowMultiplier(*sizes)

        parameters = self.parameters
        is_product = parameters.function == RowFunction.MULTIPLY
        is_norm, is_argmax = Signal(), Signal()
        m.d.sync += [
            is_norm.eq(parameters.function == RowFunction.NORM),
            is_argmax.eq(parameters.function == RowFunction.ARGMAX),
        ]

        # First pass.
        wiring.connect(m, wiring.flipped(self.rows), row_chunks.i)
        wiring.connect(m, sums.o, scaler.i)
        wiring.connect(m, scaler.o, multiplier.scales)
        m.d.comb += [
            sums.i.valid.eq(row_chunks.o.valid & is_norm),
            sums.i.payload.eq(row_chunks.o.payload),
            argmax.valid.eq(row_chunks.o.valid & is_argmax),
            argmax.chunk.eq(row_chunks.o.payload),
            row_chunks.o.ready.eq(sums.i.ready | is_argmax),
            row_chunks.n.eq(parameters.n),
            row_chunks.words.eq(parameters.words),
            scaler.n.eq(parameters.n),
            scaler.epsilon.eq(parameters.epsilon),
            scaler.rms.eq(parameters.rms),
            argmax.first.eq(parameters.first),
            argmax.continues.eq(parameters.continues),
            self.scaled.eq(Mux(is_argmax, argmax.found, scaler.found)),
        ]

        # Second pass. The result of an ARGMAX is a word of offsets, to products that are shifted
        # out.
        wiring.connect(m, wiring.flipped(self.elements), element_chunks.i)
        wiring.connect(m, element_chunks.o, multiplier.i)
        wiring.connect(m, multiplier.o, wiring.flipped(self.o))
        m.d.comb += [
            element_chunks.n.eq(Mux(is_argmax, RESULT_LANES, parameters.n)),
            element_chunks.words.eq(Mux(is_argmax, 1, parameters.words)),
            multiplier.scaled.eq(is_norm),
            self.applied.eq(multiplier.ended),
        ]
        for lane in range(RESULT_LANES):
            m.d.comb += argmax.held[lane].eq(self.elements.payload[lane].beta)
            with m.If(is_argmax):
                m.d.comb += element_chunks.i.payload[lane].beta.eq(argmax.result[lane])

        mode = multiplier.mode
        shift = Signal.like(mode.shift, reset_less=True)
        with m.If(is_product):
            m.d.sync += shift.eq(parameters.shift[:5] + PRODUCT_SHIFT)
        with m.Elif(is_argmax | (parameters.shift > MAX_SHIFT)):
            m.d.sync += shift.eq(MAX_SHIFT)
        with m.Else():
            m.d.sync += shift.eq(parameters.shift)
        m.d.comb += [
            mode.shift.eq(shift),
            mode.products.eq(is_product),
            mode.complex.eq(is_product & parameters.complex),
            mode.narrow.eq(is_product & parameters.narrow),
        ]

        return m
