"""What one of each feature of a part takes of an ECP5; see `celosia.platforms.estimate`.

Written by scripts/fit_estimates.py from 19 samples, with
Yosys 0.70.
"""

__all__ = ["COEFFICIENTS"]

COEFFICIENTS: dict[str, dict[str, tuple[float, ...]]] = {
    "array": {
        "luts": (0, 1.1735, 0, 18.9891, 4.4004),
        "flip_flops": (0, 0.905, 15.0369, 5.5143, 0),
    },
    "requantiser": {
        "luts": (517.441,),
        "flip_flops": (554.066,),
    },
    "accumulators": {
        "luts": (8.8141, 0.9707, 320.573),
        "flip_flops": (302.678, 0.7934, 165.073),
    },
    "router": {
        "luts": (751.09, 516.776, 0),
        "flip_flops": (1210.17, 376.354, 16.75),
    },
    "loader": {
        "luts": (81.6667, 97.0833, 15.0833, 51.5, 0, 0),
        "flip_flops": (0, 26.8583, 19.0708, 20.0708, 0),
    },
    "streamer": {
        "luts": (296.303, 86.269, 22.596),
        "flip_flops": (130.766, 44.5822, 1.7674),
    },
    "probabilities": {
        "luts": (4.0181,),
        "flip_flops": (2.0256, 0),
    },
    "scratchpad": {
        "luts": (219.521, 18.2337, 1.2576),
        "flip_flops": (191.598, 16.125, 1.0359),
    },
    "exponents": {
        "luts": (7.0137, 17.8116),
        "flip_flops": (30.1441, 0.7481),
    },
    "vector": {
        "luts": (2593.68, 99.2188, 842.78),
        "flip_flops": (1516.49, 106.811, 830.538),
    },
    "load": {
        "luts": (362.6, 3.6, 55.7),
        "flip_flops": (388.923, 15.7871, 0),
    },
    "store": {
        "luts": (544.829, 1.4655, 39.1809),
        "flip_flops": (279.551, 0.3355, 0),
    },
    "reader": {
        "luts": (1381.83, 60.1458),
        "flip_flops": (783.445, 31.0694),
    },
    "writer": {
        "luts": (617.363, 0),
        "flip_flops": (349, 0),
    },
    "memory": {
        "luts": (59.7605, 92.6549),
        "flip_flops": (77.325, 7.3344),
    },
    "sdram": {
        "luts": (821, 0),
        "flip_flops": (511, 0),
    },
    "control": {
        "luts": (6974.25, 28.2344),
        "flip_flops": (3790.91, 68.2557),
    },
    "board": {
        "luts": (1269.32,),
        "flip_flops": (456,),
    },
}
