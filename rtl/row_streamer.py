"""Streams rows into the array: from the scratchpad, as int8, or from the probabilities."""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.config import MachineConfig
from celosia.cores.arith import count, delayed
from celosia.cores.quantise import Quantiser
from celosia.cores.softmax_power import PROBABILITY_BITS
from celosia.cores.systolic import StreamedRow
from celosia.rtl.exponents import ExponentRead, ScratchpadWord
from celosia.rtl.operand_select import select_part
from celosia.rtl.passes import (
    AccumulateMode,
    Rescale,
    RowPass,
    address_bits,
    index_bits,
    of_packed,
)
from celosia.rtl.probabilities import ProbabilityRead
from celosia.rtl.row_groups import GroupedRows
from celosia.rtl.stream import StreamFIFO

__all__ = ["RowAddresses", "RowStreamer", "SumRow"]


class SumRow(data.StructLayout):
    """What becomes of the sums of one row: where they are added, and how.

    `closes` marks the last sums of a group; with chaining, those of each row.
    `scaled` sums are shifted right by `b`, guard bits added; RESCALE shifts what is there by `a`.
    A `pair` of sums is multiplied by scales, which `rescale` changes from this row on.
    A `high` sum is one of high bytes: 256 times it goes to the next row's, which comes right after.
    """

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "bank": 1,
            "accumulator": index_bits(config.accumulator_rows),
            "mode": AccumulateMode,
            "scaled": 1,
            "high": 1,
            **of_packed(config, pair=1, rescale=Rescale),
            "a": 5,
            "b": 5,
            "closes": 1,
        })


class RowStep(data.StructLayout):
    """One row of a pass."""

    def __init__(self, config: MachineConfig) -> None:
        super().__init__({
            "first": 1,
            "last": 1,
            "row": index_bits(config.accumulator_rows),
            "slot": index_bits(config.exponent_slots),
            "accumulator": index_bits(config.accumulator_rows),
            "of": RowPass(config),
        })


class RowAddresses(wiring.Component):
    """Walks the rows of a pass: scratchpad requests, and what to do with the answers.

    Members
    -------
    i : In(stream.Signature(RowPass(config)))
        Passes, in order.
    requests : Out(stream.Signature(address)).array(row_words)
        Scratchpad words that hold the rows; none for probabilities, two for sparse tiles.
    loaded : In(1)
        A word of a chained LOAD can be asked for, in their order. Only of machines with chaining.
    steps : Out(stream.Signature(RowStep(config)))
        One step a row.
    """

    i: stream.Interface
    requests: Any
    steps: stream.Interface

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(RowPass(config))),
            "requests": Out(stream.Signature(address_bits(config))).array(config.row_words),
            "steps": Out(stream.Signature(RowStep(config))),
            **({"loaded": In(1)} if config.chaining else {}),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        rows = self.i.payload
        m.submodules.place = place = GroupedRows(self.config)
        place.follow(m, rows)
        # Each word is asked for once.
        wanted = [~rows.from_probabilities]
        if self.config.row_words > 1:
            wanted.append(rows.sparse)
        asks = self.i.valid
        if self.config.chaining:
            asks &= self._follow_loads(m, place.step)
        ready = Signal(len(wanted))
        for word, (request, wants) in enumerate(zip(self.requests, wanted, strict=True)):
            asked = Signal(name=f"asked_{word}")
            m.d.comb += [
                request.payload.eq(place.address + word),
                request.valid.eq(asks & wants & ~asked),
                ready[word].eq(~wants | asked | request.ready),
            ]
            with m.If(request.valid & request.ready):
                m.d.sync += asked.eq(1)
            with m.If(place.step):
                m.d.sync += asked.eq(0)
        m.d.comb += [
            self.steps.valid.eq(asks & ready.all()),
            self.steps.p.of.eq(rows),
            self.steps.p.first.eq(place.first),
            self.steps.p.last.eq(place.last),
            self.steps.p.row.eq(place.row),
            self.steps.p.slot.eq(rows.slot + place.query),
            self.steps.p.accumulator.eq(rows.accumulator + place.row),
            place.step.eq(self.steps.valid & self.steps.ready),
            self.i.ready.eq(place.step & place.last),
        ]
        return m

    def _follow_loads(self, m: Module, step: Value) -> Value:
        """Count the words that were loaded and not yet asked for; return whether one is there."""
        words = Signal(range(self.config.scratchpad_words + 1))
        chained = self.i.p.chained
        count(m, words, self.loaded, step & chained)
        return ~chained | (words != 0)


class RowStreamer(wiring.Component):
    """Lets rows into the array as soon as everything that they need is there.

    The first row of a pass waits for its tile, for the drain of its bank if it opens a group,
    and for its block of probabilities; every row waits for its word. A wide row goes twice, in two
    cycles that follow each other: its high bytes, signed, and its low bytes, which are not. A row
    enters the array 3 cycles after it was let go, as columns do; `sums` says then what becomes of
    its sums.

    Members
    -------
    i : In(stream.Signature(RowPass(config)))
        Passes, in order.
    requests, words : scratchpad read ports, as many as `row_words`
    exponents : Out(ExponentRead(config))
        Exponent read port.
    probabilities : Out(ProbabilityRead(config))
        Probability read port, one cycle.
    block_ready : In(1), block_taken : Out(1)
        A block of probabilities is complete; one has been read for the last time.
    tile_holds : In(1), tile_taken : Out(1)
        The next tile is complete; it comes into use.
    drained : In(2)
        A drain of bank 0, 1 has read its last row.
    finished : Out(1)
        An instruction that drains nothing has read all its operands.
    loaded : In(1)
        A word of a chained LOAD can be asked for. Only of machines with chaining.
    rows : Out(StreamedRow(config))
        To the array.
    sum_valid, sums : Out(1), Out(SumRow(config))
        What becomes of the sums of the row.
    waits_tile, waits_word, waits_bank : Out(1)
        Why the array gets no row in this cycle, for the counters.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(RowPass(config))),
            "requests": Out(stream.Signature(address_bits(config))).array(config.row_words),
            "words": In(stream.Signature(ScratchpadWord(config))).array(config.row_words),
            "exponents": Out(ExponentRead(config)),
            "probabilities": Out(ProbabilityRead(config)),
            "block_ready": In(1),
            "block_taken": Out(1),
            "tile_holds": In(1),
            "tile_taken": Out(1),
            "drained": In(2),
            "finished": Out(1),
            "rows": Out(StreamedRow(config)),
            "sum_valid": Out(1),
            "sums": Out(SumRow(config)),
            "waits_tile": Out(1),
            "waits_word": Out(1),
            "waits_bank": Out(1),
            **({"loaded": In(1)} if config.chaining else {}),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.addresses = addresses = RowAddresses(self.config)
        m.submodules.steps = steps = StreamFIFO(RowStep(self.config), 8)
        wiring.connect(m, wiring.flipped(self.i), addresses.i)
        for asked, request in zip(addresses.requests, self.requests, strict=True):
            wiring.connect(m, asked, wiring.flipped(request))
        wiring.connect(m, addresses.steps, steps.i)
        if self.config.chaining:
            m.d.comb += addresses.loaded.eq(self.loaded)

        # Stage 0: let a row go. Nothing holds back the low bytes, once the high ones have gone.
        step = steps.o.payload
        go = Signal()
        low = Signal()
        done = Signal()
        words_valid = Signal()
        m.d.comb += words_valid.eq(self.words[0].valid)
        if self.config.row_words > 1:
            m.d.comb += [
                words_valid.eq(self.words[0].valid & (~step.of.sparse | self.words[1].valid)),
                self.words[1].ready.eq(go & done & step.of.sparse),
            ]
        begins = Signal()
        # Behind a tile in use there are only probabilities to read, unless sums are kept.
        reads_all = begins
        if self.config.chaining:
            reads_all = Mux(step.of.from_probabilities, begins, done & step.last)
        word_there = Signal()
        tile_there = Signal()
        bank_there = Signal()
        m.d.comb += [
            begins.eq(step.first & ~low),
            done.eq(~step.of.wide | low),
            word_there.eq(
                Mux(step.of.from_probabilities, ~step.first | self.block_ready, words_valid)
            ),
            tile_there.eq(~begins | self.tile_holds),
            bank_there.eq(~(begins & step.of.opens) | self._bank_free(m, step, go & begins)),
            go.eq(steps.o.valid & word_there & tile_there & bank_there),
            steps.o.ready.eq(go & done),
            self.words[0].ready.eq(go & done & ~step.of.from_probabilities),
            self.exponents.address.eq(step.slot),
            self.probabilities.parity.eq(step.of.parity),
            self.probabilities.row.eq(step.row),
            self.tile_taken.eq(go & begins),
            self.block_taken.eq(go & step.last & step.of.releases),
            self.finished.eq(go & reads_all & step.of.finishes),
            self.waits_bank.eq(steps.o.valid & ~bank_there),
            self.waits_tile.eq(steps.o.valid & bank_there & ~tile_there),
            self.waits_word.eq(~self.waits_bank & ~self.waits_tile & ~go),
        ]
        with m.If(go):
            m.d.sync += low.eq(~done)

        self._add_path(m, step, go, low)
        return m

    def _bank_free(self, m: Module, step, begins) -> Value:
        """Count the drains that have yet to read a bank; return whether the step can have it."""
        free = Signal(2)
        half = Signal(2)  # at most the group before has yet to drain
        for bank in range(2):
            drains = Signal(8, name=f"drains_{bank}")
            closes = Signal(name=f"closes_{bank}")
            m.d.comb += [
                closes.eq(begins & step.of.closes & (step.of.bank == bank)),
                free[bank].eq(drains == 0),
                half[bank].eq(drains <= 1),
            ]
            count(m, drains, closes, self.drained[bank])
        return (free | Mux(step.of.joins, half, 0)).bit_select(step.of.bank, 1)

    def _add_path(self, m: Module, step, go, low) -> None:
        """Stages 1 to 3: the row becomes what the array takes."""
        config = self.config
        m.submodules.quantiser = quantiser = Quantiser(config.row_lanes)

        # Stage 1: exponent and probabilities are there.
        word = Signal(data.ArrayLayout(ScratchpadWord(config), config.row_words), reset_less=True)
        now = Signal(RowStep(config), reset_less=True)
        now_low = Signal(reset_less=True)
        valid = Signal()
        m.d.sync += [
            Value.cast(word).eq(Cat(Value.cast(words.payload) for words in self.words)),
            now.eq(step),
            now_low.eq(low),
            valid.eq(go),
        ]
        of_word = Signal(data.ArrayLayout(signed(16), config.row_lanes))
        block_layout = data.ArrayLayout(PROBABILITY_BITS, config.rows)
        of_block = Signal(block_layout)
        self._select_lanes(m, word, now.of, of_word)
        select_part(m, self.probabilities.data, now.of.part, of_block)
        m.d.comb += [
            quantiser.i.valid.eq(valid),
            quantiser.i.exponent.eq(Mux(now.of.wide, Mux(now_low, 0, 8), self.exponents.exponent)),
            quantiser.i.raw.eq(now.of.wide),
            quantiser.i.data.eq(of_word),
        ]

        # Stages 2 and 3: the quantiser, and probabilities beside it; what is known of the row
        # follows.
        late_block = delayed(m, Value.cast(of_block), quantiser.latency, "block")
        block = data.View(block_layout, late_block)
        swap = delayed(m, now.first & ~now_low, quantiser.latency, "swap")
        is_low = delayed(m, now_low, quantiser.latency, "is_low")
        is_block = delayed(m, now.of.from_probabilities, quantiser.latency, "is_block")
        for lane, quantised in enumerate(quantiser.o.data):
            element = Cat(quantised, quantised[7] & ~is_low).as_signed()
            row = self._dense_row(lane)
            if row is not None:
                element = Mux(is_block, block[row], element)
            m.d.comb += self.rows.data[lane].eq(element)
        m.d.comb += [
            self.rows.valid.eq(quantiser.o.valid),
            self.rows.swap.eq(swap),
            self.sum_valid.eq(valid),
            self.sums.bank.eq(now.of.bank),
            self.sums.accumulator.eq(now.accumulator),
            self.sums.mode.eq(now.of.mode),
            self.sums.scaled.eq(now.of.from_probabilities),
            self.sums.high.eq(now.of.wide & ~now_low),
            self.sums.a.eq(self.probabilities.a),
            self.sums.b.eq(self.probabilities.b),
            # With chaining rows drain one by one.
            self.sums.closes.eq(now.of.closes & (1 if config.chaining else now.last)),
        ]
        if config.products > 1:
            m.d.comb += [
                self.sums.pair.eq(now.of.pair),
                self.sums.rescale.eq(Mux(now.first & ~now_low, now.of.rescale, Rescale.KEEP)),
            ]

    def _dense_row(self, lane: int) -> int | None:
        """Row of the array that takes a lane unless the tile is sparse; none takes the others."""
        if self.config.sparsity == 1:
            return lane
        group, place = divmod(lane, self.config.sparsity)
        rows = self.config.sparsity // 2
        return group * rows + place if place < rows else None

    def _select_lanes(self, m: Module, word, of, target) -> None:
        """Choose the part of the words that the array takes: R elements, or 2R if it is sparse."""
        config = self.config
        dense = Signal(data.ArrayLayout(signed(16), config.rows))
        select_part(m, Value.cast(word)[: 16 * config.lanes], of.part, dense)
        if config.sparsity == 1:
            m.d.comb += target.eq(dense)
            return
        sparse = Signal.like(target)
        select_part(m, word, of.part >> 1, sparse)
        for lane in range(config.row_lanes):
            row = self._dense_row(lane)
            chosen = sparse[lane] if row is None else Mux(of.sparse, sparse[lane], dense[row])
            m.d.comb += target[lane].eq(chosen)
