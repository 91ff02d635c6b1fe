"""How the stationary tiles of a MATMUL lie in memory: channels, lanes and bytes of each."""

from dataclasses import dataclass

from celosia.config import MachineConfig
from celosia.isa import Code, Flag, Instruction

__all__ = ["RUNS", "TileShape", "instruction_tiles", "tile_shape"]

#: Runs of tiles along the reduction that `skip` has bits for.
RUNS = 32


@dataclass(frozen=True)
class TileShape:
    """The tiles of one MATMUL with weights in memory.

    The tiles of `channels` channels follow each other along the reduction, in runs; each has C
    columns of R bytes. Before the first tile of a run lie its scales, behind each sparse tile its
    indices. A run whose weights are all 0 may be left out.

    Attributes
    ----------
    channels : int
        Stationary rows of a tile: C, or 2C with weights of 4 bits.
    lanes : int
        Inputs of a tile: R, or 2R if it is sparse.
    tile : int
        Bytes of a tile, with its indices.
    run : int
        Tiles of a run.
    scales : int
        Bytes of the scales of a run; 0 if there are none.
    """

    channels: int
    lanes: int
    tile: int
    run: int
    scales: int

    def present(self, k_tiles: int, skip: int = 0) -> list[int]:
        """Return the tiles that are there."""
        return [tile for tile in range(k_tiles) if not skip >> tile // self.run & 1]

    def bytes(self, k_tiles: int, skip: int = 0) -> int:
        """Bytes of the tiles of `channels` channels."""
        tiles = self.present(k_tiles, skip)
        return len(tiles) * self.tile + len({tile // self.run for tile in tiles}) * self.scales


def tile_shape(
    config: MachineConfig, code: int = 0, group: int = 0, *, sparse: bool = False
) -> TileShape:
    """Return the shape of the tiles of a MATMUL with these operands."""
    pair = code != Code.INT8
    return TileShape(
        config.columns * (2 if pair else 1),
        config.rows * (2 if sparse else 1),
        config.tile_bytes + (config.index_bytes if sparse else 0),
        1 << group - 1 if group else 1,
        config.scale_bytes if pair and group else 0,
    )


def instruction_tiles(config: MachineConfig, instruction: Instruction) -> TileShape:
    """Return the shape of the tiles of a MATMUL."""
    sparse = Flag.SPARSE in instruction.flags
    return tile_shape(config, instruction["code"], instruction["group"], sparse=sparse)
