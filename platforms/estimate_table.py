"""What one of each feature of a part takes of an ECP5; see `celosia.platforms.estimate`.

Written by scripts/fit_estimates.py from 6 samples, with
Yosys 0.70.
"""

__all__ = ["COEFFICIENTS"]

COEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {
    "array": {
        "luts": (0, 1.1735, 0, 18.9891, 4.4004),
        "flip_flops": (0, 0.9153, 13.7673, 5.5352, 0),
    },
    "requantiser": {
        "luts": (0, 501.257),
        "flip_flops": (0, 507.93, 6.079),
    },
    "accumulators": {
        "luts": (0, 9.5318, 7.5179, 1.1535, 0),
        "flip_flops": (86.225, 0, 11.225, 0),
    },
    "router": {
        "luts": (746.044, 517.557, 0),
        "flip_flops": (704, 397, 0, 14.5),
    },
    "loader": {
        "luts": (95.6667, 96.8333, 10.8333, 0, 0, 0),
        "flip_flops": (0, 26.8583, 19.0708, 0, 0),
    },
    "streamer": {
        "luts": (323.74, 75.7416, 0),
        "flip_flops": (131.087, 50.0097, 0),
    },
    "probabilities": {
        "luts": (4.0179,),
        "flip_flops": (2.0256, 0),
    },
    "drain": {
        "luts": (158.237, 43.0953, 0),
        "flip_flops": (65.5333, 0, 57.7167),
    },
    "scratchpad": {
        "luts": (205.667, 117.833, 0, 1),
        "flip_flops": (94.75, 47.125, 0, 3.125),
    },
    "exponents": {
        "luts": (4.9134, 18.6304),
        "flip_flops": (30.1441, 0.7481),
    },
    "vector": {
        "luts": (2560.67, 96.6667, 857.667),
        "flip_flops": (1526, 111.5, 822),
    },
    "load": {
        "luts": (603.748, 2.5783, 0),
        "flip_flops": (440.313, 14.7929, 0),
    },
    "store": {
        "luts": (692.864, 2.5085, 0),
        "flip_flops": (279.629, 0.3357, 0),
    },
    "reader": {
        "luts": (1236.87, 78.2664),
        "flip_flops": (775.439, 32.0701),
    },
    "writer": {
        "luts": (612.048, 0),
        "flip_flops": (349, 0),
    },
    "memory": {
        "luts": (442.099, 0),
        "flip_flops": (106.662, 0),
    },
    "sdram": {
        "luts": (0, 0),
        "flip_flops": (0, 0),
    },
    "control": {
        "luts": (5776.83, 30.2588),
        "flip_flops": (2641.47, 26.9846),
    },
    "board": {
        "luts": (1211.14,),
        "flip_flops": (456.663,),
    },
}
