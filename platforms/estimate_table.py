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
        "luts": (497.228,),
        "flip_flops": (559.59,),
    },
    "accumulators": {
        "luts": (8.6508, 1.0763, 319.784),
        "flip_flops": (0, 1.1503, 88.7216),
    },
    "router": {
        "luts": (707.261, 476.209, 0),
        "flip_flops": (1198.44, 374.82, 19.75),
    },
    "loader": {
        "luts": (134.229, 91.8771, 0, 3.3157, 0, 0),
        "flip_flops": (17.6667, 34.1006, 18.2328, 18.5, 0),
    },
    "streamer": {
        "luts": (309.587, 81.7332, 26.0993),
        "flip_flops": (141.393, 31.2634, 22.02),
    },
    "probabilities": {
        "luts": (2.9858,),
        "flip_flops": (2, 0),
    },
    "scratchpad": {
        "luts": (249.392, 24.9865, 1.1447),
        "flip_flops": (185.214, 13.8344, 1.109),
    },
    "exponents": {
        "luts": (6.2161, 17.924),
        "flip_flops": (32.2501, 0.7055),
    },
    "vector": {
        "luts": (2457.32, 107.459, 790.913),
        "flip_flops": (1536.01, 105.744, 828.97),
    },
    "load": {
        "luts": (314.426, 5.3989, 54.7978),
        "flip_flops": (461.448, 10.1532, 0),
    },
    "store": {
        "luts": (482.518, 2.4784, 39.2069),
        "flip_flops": (278.616, 0.391, 0.032),
    },
    "reader": {
        "luts": (1180.2, 56.8499),
        "flip_flops": (809.493, 28.1884),
    },
    "writer": {
        "luts": (552.973, 0),
        "flip_flops": (349, 0),
    },
    "memory": {
        "luts": (64.7729, 84.7784),
        "flip_flops": (95.9747, 15.5032),
    },
    "sdram": {
        "luts": (887, 0),
        "flip_flops": (512, 0),
    },
    "control": {
        "luts": (5347.53, 26.5292),
        "flip_flops": (3875.48, 51.7826),
    },
    "board": {
        "luts": (1255.2,),
        "flip_flops": (474,),
    },
}
