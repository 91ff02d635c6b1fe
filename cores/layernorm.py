"""LayerNorm of int16 rows: two passes over each row, several rows at a time."""

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.layernorm_apply import MAX_SHIFT, Element, RowNormaliser
from celosia.cores.layernorm_chunks import RowChunker
from celosia.cores.layernorm_scale import RowScaler
from celosia.cores.layernorm_sums import RowSums

__all__ = ["Element", "LayerNorm", "NormParameters"]


class NormParameters(data.Struct):
    """What rows have in common: elements, words, right shift after the gain, epsilon."""

    n: 13
    words: 16
    shift: 8
    epsilon: 32


class LayerNorm(wiring.Component):
    """Normalises rows of 1 to 4096 elements, bit for bit as `celosia.golden.layernorm`.

    Each row comes twice: on `rows` for its sums, and on `elements` with gains and offsets, which
    gives the result. Words may be more than elements fill: lanes from n on do not count, and are
    0 in the result. Both passes take a word in L/V cycles, V being `vector_lanes`. Between them
    pass about 115 cycles, in which other rows can be summed: a row takes
    `max(words·L/V, ROW_CYCLES)` cycles when enough rows are under way.

    Up to `capacity` rows may have come on `rows` and not yet, to their end, on `elements`; the
    next one may have to wait. Whoever feeds both from one port must count, by `scaled` and
    `applied`, or the port may be blocked for ever.

    Parameters
    ----------
    config : MachineConfig
        Lanes of a word and of the vector unit.

    Members
    -------
    parameters : In(NormParameters)
        Of all rows; constant from the first word of the first one to the last result.
    rows : In(stream.Signature(data.ArrayLayout(signed(16), L)))
        Words of the rows.
    elements : In(stream.Signature(data.ArrayLayout(Element, L)))
        Words of the rows again.
    o : Out(stream.Signature(data.ArrayLayout(signed(16), L)))
        Words of the result, in order.
    scaled : Out(1)
        One more row can come on `elements` without a wait for its scale.
    applied : Out(1)
        The last elements of a row were taken.
    """

    #: Cycles that the scalars of a row take, if its words do not take longer.
    ROW_CYCLES = 43
    #: Rows that it can hold between the passes.
    capacity = RowSums.DEPTH + RowScaler.capacity

    parameters: NormParameters
    rows: stream.Interface
    elements: stream.Interface
    o: stream.Interface
    scaled: Signal
    applied: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "parameters": In(NormParameters),
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
        m.submodules.element_chunks = element_chunks = RowChunker(Element, *sizes)
        m.submodules.normaliser = normaliser = RowNormaliser(*sizes)

        wiring.connect(m, wiring.flipped(self.rows), row_chunks.i)
        wiring.connect(m, row_chunks.o, sums.i)
        wiring.connect(m, sums.o, scaler.i)
        wiring.connect(m, scaler.o, normaliser.scales)
        wiring.connect(m, wiring.flipped(self.elements), element_chunks.i)
        wiring.connect(m, element_chunks.o, normaliser.i)
        wiring.connect(m, normaliser.o, wiring.flipped(self.o))

        shift = Signal(range(MAX_SHIFT + 1), reset_less=True)
        m.d.sync += shift.eq(
            Mux(self.parameters.shift > MAX_SHIFT, MAX_SHIFT, self.parameters.shift)
        )
        m.d.comb += [
            *(chunks.n.eq(self.parameters.n) for chunks in (row_chunks, element_chunks)),
            *(chunks.words.eq(self.parameters.words) for chunks in (row_chunks, element_chunks)),
            scaler.n.eq(self.parameters.n),
            scaler.epsilon.eq(self.parameters.epsilon),
            normaliser.shift.eq(shift),
            self.scaled.eq(scaler.found),
            self.applied.eq(normaliser.scales.valid & normaliser.scales.ready),
        ]

        return m
