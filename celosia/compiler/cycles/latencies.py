"""Latencies and depths of the hardware, as numbers: the compiler must not import the hardware.

`sim_tests/test_cycle_model.py` compares them with the properties of the hardware's own classes.
"""

from dataclasses import dataclass

from celosia.config import MachineConfig

__all__ = [
    "BURST_BEATS",
    "BURST_BOUNDARY",
    "FETCH_AHEAD",
    "LOADS_AHEAD",
    "QUEUE_DEPTH",
    "UNDER_WAY",
    "Latencies",
    "burst_limit",
]

#: Most beats of a burst, and the bytes that none crosses a multiple of.
BURST_BEATS, BURST_BOUNDARY = 32, 4096
#: Instructions read ahead, those that wait at the matrix unit (one at others), and those that a
#: unit has under way.
FETCH_AHEAD, QUEUE_DEPTH, UNDER_WAY = 4, 3, 16
#: Bytes of an instruction that hold operands, and most of them that come by the adder in a cycle.
OPERAND_BYTES, ADDITION_BYTES = 48, 16
#: Loads whose data may be under way.
LOADS_AHEAD = 4
#: Depth of the queues of passes and of drains.
PASS_QUEUE, DRAIN_QUEUE = 4, 16
#: Beats that the memory reader holds for the tiles and for the load unit, and the writer holds.
WEIGHT_BEATS, ROW_BEATS, WRITE_BEATS = 512, 128, 64
#: Bursts that the writer may have under way.
WRITES_UNDER_WAY = 16
#: Tiles that are fetched before rows are.
RESERVED_TILES = 2
#: Deeper queues lie in block RAM, and give what they took a cycle later.
DISTRIBUTED_DEPTH = 16

#: Cycles from a scratchpad request to its word, words that wait to be taken, and requests ahead
#: of the word that is taken.
WORD_LATENCY, WORDS_THERE, WORDS_AHEAD = 4, 4, 6
#: Steps of columns and of rows that wait for their words.
STEPS_AHEAD = 8
#: Cycles from a write taken to the first request that finds it.
WRITE_LATENCY = 4
#: Cycles from a row let go to the row at the array's input, and from sums to "closed" seen.
ROW_PATH, SUM_PATH = 3, 5
#: Cycles of the requantiser, the activation, and from a drained row to the requantiser's input.
REQUANTISER, ACTIVATION, DRAIN_READ = 11, 7, 2
#: Cycles from the last chunk of a word of the vector unit to its result.
RESULT = 19
#: Cycles of the softmax's powers of two, and of its reciprocals.
POWERS, RECIPROCAL = 4, 16


def burst_limit(config: MachineConfig, room: int) -> int:
    """Most beats of a burst of a client with room for `room` beats."""
    return min(BURST_BEATS, BURST_BOUNDARY // config.memory_width, _floor_power(max(room // 4, 1)))


def _floor_power(value: int) -> int:
    return 1 << value.bit_length() - 1


@dataclass(frozen=True)
class Latencies:
    """Latencies that depend on the configuration, in cycles.

    Attributes
    ----------
    array : int
        From a row to its sums.
    scaler : int
        From sums of the array to scaled ones.
    softmax : int
        From the last part of a row of scores to its probabilities.
    reciprocal : int
        From the last part of a row of scores to its reciprocal.
    norm_sums : int
        From the last chunk of a row to its sums.
    """

    array: int
    scaler: int
    softmax: int
    reciprocal: int
    norm_sums: int

    @classmethod
    def of(cls, config: MachineConfig) -> "Latencies":
        """Return the latencies of a machine."""
        parts = config.lanes // config.columns
        columns = (config.columns - 1).bit_length()
        split = int(parts > 1)
        softmax = 1 + columns + split + parts + POWERS
        # The denominator waits for the sum of the probabilities: two levels of a tree a cycle.
        total = -(-columns // 2) + split
        return cls(
            array=config.rows + config.columns + 2 + (config.sparsity > 1),
            scaler=3 if config.products > 1 else 0,
            softmax=softmax,
            reciprocal=softmax + total + 2 + RECIPROCAL,
            norm_sums=3 + max(1, -(-(config.vector_lanes - 1).bit_length() // 2)) + 2,
        )
