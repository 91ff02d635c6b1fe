"""Matrix unit: everything around the systolic array."""

from amaranth import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from celosia.config import MachineConfig
from celosia.cores.activation import TableWrite
from celosia.cores.requant import Requantiser
from celosia.cores.systolic import SystolicArray
from celosia.isa import INSTRUCTION_BYTES, Opcode
from celosia.rtl.accumulator_halves import AccumulatorHalves
from celosia.rtl.bursts import MemoryRequest
from celosia.rtl.decode import header_layout
from celosia.rtl.drain import DrainRows, DrainTag
from celosia.rtl.drain_prepare import DrainPreparer
from celosia.rtl.exponents import ExponentRead, ScratchpadWord, ScratchpadWrite
from celosia.rtl.parameters import ParameterBuffer, ParameterWrite
from celosia.rtl.passes import Drain, Step, address_bits
from celosia.rtl.probabilities import ProbabilityBuffer
from celosia.rtl.reciprocals import ReciprocalBuffer
from celosia.rtl.residual import ResidualReader
from celosia.rtl.results import ResultRouter
from celosia.rtl.row_streamer import RowStreamer, SumRow
from celosia.rtl.step_queues import StepQueues
from celosia.rtl.stream import SkidBuffer, StreamFIFO
from celosia.rtl.tile_loader import GroupScales, TileLoader
from celosia.rtl.walk_attend import AttendWalker
from celosia.rtl.walk_matmul import MatmulWalker
from celosia.rtl.weights import ColumnGearbox, WeightFetcher

__all__ = ["MatrixUnit", "Walker"]

#: Scales of groups between their tile's loading and the array's sums.
SCALES_AHEAD = 8


class Walker(wiring.Component):
    """Gives each instruction to the walker of its kind, and merges their steps.

    A MATMUL waits until the output of the ATTENDs before it has left.

    Members
    -------
    i : In(stream.Signature(512))
        MATMUL and ATTEND instructions.
    hungry : In(1)
        The array will soon have nothing to do.
    o : Out(stream.Signature(Step(config)))
        Steps.
    """

    i: stream.Interface
    o: stream.Interface
    hungry: Signal

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        super().__init__({
            "i": In(stream.Signature(8 * INSTRUCTION_BYTES)),
            "hungry": In(1),
            "o": Out(stream.Signature(Step(config))),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.matmul = matmul = MatmulWalker(self.config)
        m.submodules.attend = attend = AttendWalker(self.config)
        header = header_layout()(self.i.payload)
        is_attend = Signal()
        is_matmul = Signal()
        m.d.comb += [
            is_attend.eq(self.i.valid & (header.opcode == Opcode.ATTEND)),
            is_matmul.eq(self.i.valid & (header.opcode != Opcode.ATTEND)),
            Value.cast(attend.i.payload).eq(self.i.payload),
            Value.cast(matmul.i.payload).eq(self.i.payload),
            attend.i.valid.eq(is_attend),
            matmul.i.valid.eq(is_matmul & attend.idle),
            attend.flush.eq(self.hungry | is_matmul),
            self.i.ready.eq(Mux(is_attend, attend.i.ready, matmul.i.ready)),
            self.o.valid.eq(attend.o.valid | matmul.o.valid),
            attend.o.ready.eq(self.o.ready),
            matmul.o.ready.eq(self.o.ready),
            Value.cast(self.o.payload).eq(
                Mux(matmul.o.valid, Value.cast(matmul.o.payload), Value.cast(attend.o.payload))
            ),
        ]
        return m


class MatrixUnit(wiring.Component):
    """Executes MATMUL and ATTEND.

    The walker takes instructions apart into passes; tiles, rows and drains have queues of their
    own, so that tiles load, rows stream and accumulators drain at once, also across instructions.
    An instruction is taken when its last step, or that of an ATTEND's scores, has been queued;
    `done` comes when its last result can be read, or all operands of an ATTEND that holds have
    been, in order.

    Members
    -------
    instruction : In(stream.Signature(512))
        MATMUL and ATTEND instructions.
    prefetch : In(stream.Signature(512))
        The MATMULs among them with weights in memory, as early as possible and in order.
    weight_requests, weight_data : memory client
    requests, words : scratchpad read ports: 0 rows, 1 tiles, 2 residuals, and if there are two
        words of a row at once, 3 for the second
    exponents : Out(ExponentRead(config)).array(4)
        Exponent read ports.
    parameters, table : In(ParameterWrite(config)), In(TableWrite())
        From the load unit.
    writes : Out(stream.Signature(ScratchpadWrite(config)))
        Results; must be taken at once.
    loaded : In(1)
        A word of a chained LOAD can be asked for. Only of machines with chaining.
    done : Out(1)
        An instruction has ended.
    row, saturations : Out(1), Out(range(columns + 1))
        A row entered the array; elements clipped.
    waits_tile, waits_word, waits_bank : Out(1)
        Why no row entered it.
    """

    def __init__(self, config: MachineConfig) -> None:
        self.config = config
        instruction = stream.Signature(8 * INSTRUCTION_BYTES)
        super().__init__({
            "instruction": In(instruction),
            "prefetch": In(instruction),
            "weight_requests": Out(stream.Signature(MemoryRequest)),
            "weight_data": In(stream.Signature(8 * config.memory_width)),
            "requests": Out(stream.Signature(address_bits(config))).array(2 + config.row_words),
            "words": In(stream.Signature(ScratchpadWord(config))).array(2 + config.row_words),
            "exponents": Out(ExponentRead(config)).array(4),
            "parameters": In(ParameterWrite(config)),
            "table": In(TableWrite()),
            "writes": Out(stream.Signature(ScratchpadWrite(config))),
            "done": Out(1),
            "row": Out(1),
            "saturations": Out(range(config.columns + 1)),
            "waits_tile": Out(1),
            "waits_word": Out(1),
            "waits_bank": Out(1),
            **({"loaded": In(1)} if config.chaining else {}),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        config = self.config
        m.submodules.walker = walker = Walker(config)
        m.submodules.queues = queues = StepQueues(config)

        m.submodules.fetcher = fetcher = WeightFetcher(config)
        m.submodules.gearbox = gearbox = ColumnGearbox(config)
        m.submodules.loader = loader = TileLoader(config)
        m.submodules.streamer = streamer = RowStreamer(config)
        m.submodules.array = array = SystolicArray(config, config.pe)
        m.submodules.sums = sums = StreamFIFO(SumRow(config), array.latency + 8)
        m.submodules.accumulators = accumulators = AccumulatorHalves(config)

        m.submodules.residual = residual = ResidualReader(config)
        m.submodules.parameter_buffer = parameters = ParameterBuffer(config, 2)
        m.submodules.preparer = preparer = DrainPreparer(config)
        m.submodules.prepared = prepared = SkidBuffer(Drain(config))
        m.submodules.drain = drain = DrainRows(config)
        m.submodules.requantiser = requantiser = Requantiser(config, DrainTag(config))
        m.submodules.router = router = ResultRouter(config)
        m.submodules.probabilities = probabilities = ProbabilityBuffer(config)
        m.submodules.reciprocals = reciprocals = ReciprocalBuffer(config)

        # Instructions become passes.
        connect(m, flipped(self.instruction), walker.i)
        connect(m, walker.o, queues.i)
        m.d.comb += walker.hungry.eq(queues.hungry)

        # Tiles to the array.
        m.d.comb += [
            Value.cast(fetcher.i.payload).eq(self.prefetch.payload),
            fetcher.i.valid.eq(self.prefetch.valid),
            self.prefetch.ready.eq(fetcher.i.ready),
        ]
        connect(m, fetcher.requests, flipped(self.weight_requests))
        connect(m, flipped(self.weight_data), gearbox.i)
        connect(m, gearbox.o, loader.weights)
        connect(m, queues.tiles, loader.i)
        connect(m, loader.requests, flipped(self.requests[1]))
        connect(m, flipped(self.words[1]), loader.words)
        connect(m, loader.exponents, flipped(self.exponents[1]))
        connect(m, loader.load, array.load)

        # Rows to the array.
        connect(m, queues.rows, streamer.i)
        ports = [0, 3][: config.row_words]
        for port, requests, words in zip(ports, streamer.requests, streamer.words, strict=True):
            connect(m, requests, flipped(self.requests[port]))
            connect(m, flipped(self.words[port]), words)
        connect(m, streamer.exponents, flipped(self.exponents[0]))
        connect(m, streamer.probabilities, probabilities.read)
        connect(m, streamer.rows, array.i)
        if config.chaining:
            m.d.comb += streamer.loaded.eq(self.loaded)
        m.d.comb += [
            streamer.tile_holds.eq(loader.holds),
            loader.taken.eq(streamer.tile_taken),
            streamer.block_ready.eq(probabilities.ready),
            probabilities.taken.eq(streamer.block_taken),
            streamer.drained.eq(drain.drained),
        ]

        # Sums to the accumulators, and scales of groups for them.
        connect(m, array.o, accumulators.sums)
        m.d.comb += [
            sums.i.valid.eq(streamer.sum_valid),
            sums.i.payload.eq(streamer.sums),
            sums.o.ready.eq(array.o.valid),
            accumulators.to.eq(sums.o.payload),
        ]
        if config.products > 1:
            m.submodules.scales = scales = StreamFIFO(GroupScales(config), SCALES_AHEAD)
            m.d.comb += [
                scales.i.valid.eq(loader.scales.valid),
                scales.i.payload.eq(loader.scales.payload),
            ]
            connect(m, scales.o, accumulators.scales)
            m.d.comb += loader.scales_room.eq(scales.level <= SCALES_AHEAD - 2)

        # Accumulators to the requantiser.
        connect(m, queues.drains, preparer.i)
        connect(m, preparer.o, prepared.i)
        connect(m, prepared.o, drain.i)
        connect(m, preparer.load, requantiser.load)
        connect(m, preparer.parameters, parameters.reads[0])
        connect(m, preparer.exponents, flipped(self.exponents[2]))
        connect(m, queues.residuals, residual.i)
        connect(m, residual.requests, flipped(self.requests[2]))
        connect(m, flipped(self.words[2]), drain.residuals)
        connect(m, flipped(self.parameters), parameters.write)
        connect(m, drain.parameters, parameters.reads[1])
        connect(m, drain.exponents, flipped(self.exponents[3]))
        connect(m, drain.reciprocals, reciprocals.read)
        connect(m, drain.read, accumulators.read)
        connect(m, drain.rows, requantiser.i)
        m.d.comb += [
            drain.closed.eq(accumulators.closed),
            drain.finished.eq(streamer.finished),
            drain.lane_exponents.eq(preparer.lane_exponents),
            preparer.swapped.eq(drain.swapped),
        ]

        # Results to the scratchpad or the softmax.
        connect(m, requantiser.o, router.rows)
        connect(m, flipped(self.table), router.table)
        connect(m, router.writes, flipped(self.writes))
        connect(m, router.probabilities, probabilities.write)
        connect(m, router.reciprocals, reciprocals.write)
        m.d.comb += [
            probabilities.parity.eq(router.parity),
            probabilities.completes.eq(router.completes),
        ]

        m.d.comb += [
            self.done.eq(router.done),
            self.saturations.eq(router.saturations),
            self.row.eq(array.i.valid),
            self.waits_tile.eq(streamer.waits_tile),
            self.waits_word.eq(streamer.waits_word),
            self.waits_bank.eq(streamer.waits_bank),
        ]
        return m
