"""What one of each feature of a part takes of an ECP5; see `celosia.platforms.estimate`.

Written by scripts/fit_estimates.py from 13 samples, with
Yosys 0.70.
"""

__all__ = ["COEFFICIENTS"]

COEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {
    "array": {
        "luts": (0, 1.1735, 0, 18.9891, 4.4004),
        "flip_flops": (0, 0.9153, 13.7673, 5.5352, 0),
    },
    "requantiser": {
        "luts": (517.479,),
        "flip_flops": (554.066,),
    },
    "accumulators": {
        "luts": (8.753, 1.1538, 0),
        "flip_flops": (120.948, 1.0465, 0),
    },
    "router": {
        "luts": (741.405, 518.717, 0),
        "flip_flops": (1210.17, 376.354, 16.75),
    },
    "loader": {
        "luts": (95.6667, 96.8333, 10.8333, 0, 0, 0),
        "flip_flops": (0, 26.8583, 19.0708, 0, 0),
    },
    "streamer": {
        "luts": (307.184, 82.1238, 0),
        "flip_flops": (132.278, 49.5424, 0),
    },
    "probabilities": {
        "luts": (4.0179,),
        "flip_flops": (2.0256, 0),
    },
    "scratchpad": {
        "luts": (224.991, 17.3128, 1.2586),
        "flip_flops": (191.598, 16.125, 1.0359),
    },
    "exponents": {
        "luts": (4.9134, 18.6304),
        "flip_flops": (30.1441, 0.7481),
    },
    "vector": {
        "luts": (2579.42, 100.518, 843.76),
        "flip_flops": (1516.49, 106.811, 830.538),
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
        "luts": (766, 0),
        "flip_flops": (468, 0),
    },
    "control": {
        "luts": (7069.39, 27.7255),
        "flip_flops": (3830.53, 49.8417),
    },
    "board": {
        "luts": (1211.14,),
        "flip_flops": (456.663,),
    },
}
