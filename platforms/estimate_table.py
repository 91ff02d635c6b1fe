"""What one of each feature of a part takes of an ECP5; see `celosia.platforms.estimate`.

Written by scripts/fit_estimates.py from 19 samples, with
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
        "luts": (8.753, 1.1538, 315.576),
        "flip_flops": (120.948, 1.0465, 102.715),
    },
    "router": {
        "luts": (741.405, 518.717, 0),
        "flip_flops": (1210.17, 376.354, 16.75),
    },
    "loader": {
        "luts": (95.6667, 96.8333, 10.8333, 48.25, 0, 0),
        "flip_flops": (0, 26.8583, 19.0708, 20.0708, 0),
    },
    "streamer": {
        "luts": (261.887, 87.753, 25.6439),
        "flip_flops": (130.766, 44.5822, 1.7674),
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
        "luts": (391.122, 2.5783, 53.1565),
        "flip_flops": (422.848, 13.1133, 0),
    },
    "store": {
        "luts": (535.795, 2.5085, 39.2671),
        "flip_flops": (279.551, 0.3355, 0),
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
        "luts": (83.1987, 89.7252),
        "flip_flops": (77.325, 7.3344),
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
