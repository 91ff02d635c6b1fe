"""What one of each feature of a part takes of an ECP5; see `celosia.platforms.estimate`.

Written by scripts/fit_estimates.py from 20 samples, with
Yosys 0.70.
"""

__all__ = ["COEFFICIENTS"]

COEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {
    "array": {
        "luts": (0, 0.9833, 0, 15.8016, 4.6581),
        "flip_flops": (23.9756, 0.9099, 13.2047, 5.2594, 0),
    },
    "requantiser": {
        "luts": (497.36,),
        "flip_flops": (559.053,),
    },
    "accumulators": {
        "luts": (8.6514, 1.0887, 318.911),
        "flip_flops": (0, 1.1503, 88.7216),
    },
    "router": {
        "luts": (704.915, 476.502, 0),
        "flip_flops": (1191.2, 375.725, 19.75),
    },
    "loader": {
        "luts": (138.333, 91.4167, 2.1659, 2.75, 0, 0),
        "flip_flops": (17.6667, 34.1006, 18.2328, 18.5, 0),
    },
    "streamer": {
        "luts": (296.312, 83.1398, 23.3749),
        "flip_flops": (141.393, 31.2634, 22.02),
    },
    "probabilities": {
        "luts": (2.9773,),
        "flip_flops": (2, 0),
    },
    "scratchpad": {
        "luts": (256.502, 28.2924, 1.1092),
        "flip_flops": (185.214, 13.8344, 1.109),
    },
    "exponents": {
        "luts": (5.7879, 17.9508),
        "flip_flops": (33.7544, 0.6677),
    },
    "vector": {
        "luts": (2452.28, 107.791, 791.524),
        "flip_flops": (1536.01, 105.744, 828.97),
    },
    "load": {
        "luts": (320.618, 5.1409, 54.2818),
        "flip_flops": (461.448, 10.1532, 0),
    },
    "store": {
        "luts": (486.704, 2.304, 38.858),
        "flip_flops": (278.616, 0.391, 0.032),
    },
    "reader": {
        "luts": (1140.85, 61.7683),
        "flip_flops": (809.493, 28.1884),
    },
    "writer": {
        "luts": (552.177, 0),
        "flip_flops": (349, 0),
    },
    "memory": {
        "luts": (55.72, 85.91),
        "flip_flops": (95.9747, 15.5032),
    },
    "sdram": {
        "luts": (887, 0),
        "flip_flops": (512, 0),
    },
    "control": {
        "luts": (5387.18, 24.0514),
        "flip_flops": (3879.97, 51.5016),
    },
    "board": {
        "luts": (1221.23,),
        "flip_flops": (474,),
    },
}
