"""Random programs that use every instruction, for any configuration."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from celosia.compiler.dependencies import insert_tokens
from celosia.config import MachineConfig
from celosia.isa import ARGUMENTS, CHAINED_ROWS, OPCODES, Flag, Instruction, Opcode, Space, assemble

__all__ = ["SIZE", "put_program", "random_arguments", "random_image"]

#: Bytes of the window; where programs find their data and put their results.
SIZE = 1 << 15
ROWS, PARAMETERS, TABLE, TILES, RESULTS = 0x2000, 0x3800, 0x3C00, 0x4000, 0x5000
WORDS = 4  # scratchpad words of a row
F = Flag
NONE = Flag(0)


class Writer:
    """Writes instructions with operands from a generator of random numbers."""

    def __init__(self, config: MachineConfig, rng: np.random.Generator) -> None:
        self.config = config
        self.rng = rng
        # Of what is stored, of weights, and of chains.
        self.ranges, self.formats, self.chains = rng.spawn(3)
        self.stride = int(rng.integers(WORDS, WORDS + 4))
        self.result = RESULTS
        self.wide = F.WIDE if config.accumulator_width == 32 else NONE
        self.program: list[Instruction] = []

    def add(self, opcode: Opcode, flags: Flag = NONE, **operands: int) -> None:
        self.program.append(Instruction(opcode, operands, flags))

    def tensor(self, name: str, number: int) -> dict[str, int]:
        """Operands of one of four tensors of 16 rows."""
        names = (f"{name}_base", f"{name}_stride", f"{name}_slot")
        return dict(zip(names, (number * 16 * (WORDS + 4), self.stride, number * 16), strict=True))

    def count(self, high: int) -> int:
        return int(self.rng.integers(1, high + 1))

    def flags(self, *choices: Flag) -> Flag:
        taken = [flag for flag in choices if self.rng.random() < 0.4]
        return Flag(sum(taken))

    def load(self, number: int, *, narrow: bool = False) -> None:
        t = self.tensor("x", number)
        pitch = WORDS * self.config.word_bytes
        space = Space.ROWS8 if narrow or self.rng.random() < 0.3 else Space.ROWS16
        self.add(
            Opcode.LOAD,
            space=space,
            address=ROWS + int(self.rng.integers(0, 64)) * self.config.memory_width,
            pitch=pitch,
            rows=16,
            words=WORDS,
            base=t["x_base"],
            stride=t["x_stride"],
            slot=t["x_slot"],
        )

    def load_rest(self) -> None:
        entries = min(64, self.config.parameter_entries)
        self.add(Opcode.LOAD, space=Space.PARAMETERS, address=PARAMETERS, rows=1, words=entries)
        self.add(Opcode.LOAD, space=Space.TABLE, address=TABLE, rows=1, words=256)

    def store(self, number: int) -> None:
        t = self.tensor("x", number)
        space = Space.ROWS8 if self.rng.random() < 0.2 else Space.ROWS16
        row = WORDS * self.config.word_bytes // (2 if space == Space.ROWS8 else 1)
        width = WORDS * self.config.lanes
        ranged = {}
        if self.ranges.random() < 0.5:
            first, end = sorted(self.ranges.choice(width + 1, 2, replace=False).tolist())
            ranged = {"first": first, "count": end - first}
        self.add(
            Opcode.STORE,
            **ranged,
            space=space,
            address=self.result,
            pitch=row,
            rows=16,
            words=WORDS,
            base=t["x_base"],
            stride=t["x_stride"],
        )
        self.result += 16 * row

    def matmul(self, x: int, w: int, y: int, r: int) -> None:
        config = self.config
        flags = self.flags(
            F.RESIDUAL,
            F.ACTIVATE,
            F.NARROW,
            F.ROW_PARAMETERS,
            F.WEIGHTS_IN_MEMORY,
            F.KEEP_EXPONENT,
            self.wide,
        )
        if config.products * config.sparsity > 1 and self.formats.random() < 0.7:
            flags |= F.WEIGHTS_IN_MEMORY
        widest = min(WORDS * config.lanes, 40)
        w_rows = widest if F.WEIGHTS_IN_MEMORY in flags else min(16, widest)
        place = {}
        if F.WEIGHTS_IN_MEMORY in flags:
            place = {"w_address": TILES + int(self.rng.integers(0, 32)) * config.memory_width}
        else:
            place = self.tensor("w", w)
        residual = self.tensor("r", r)
        k_tiles = self.count(min(4, WORDS * config.lanes // config.rows))
        if F.WEIGHTS_IN_MEMORY in flags:
            if config.products > 1:
                place["code"] = int(self.formats.integers(0, 3))
                place["group"] = int(self.formats.integers(0, 4))
            if config.sparsity > 1 and self.formats.random() < 0.6:
                flags |= F.SPARSE
                k_tiles = -(-k_tiles // 2)
        n = self.count(w_rows)
        if F.WEIGHTS_IN_MEMORY in flags and config.sparsity > 1 and self.formats.random() < 0.4:
            n = min(n, config.columns * (2 if place.get("code") else 1))
            runs = -(-k_tiles // (1 << max(place.get("group", 0) - 1, 0)))
            kept = int(self.formats.integers(1, 1 << runs))
            place["skip"] = ~kept & 0xFFFFFFFF
        self.add(
            Opcode.MATMUL,
            flags,
            m=self.count(16),
            n=n,
            k_tiles=k_tiles,
            p_base=self.count(8),
            r_shift=int(self.rng.integers(0, 4)),
            r_base=residual["r_base"],
            r_stride=residual["r_stride"],
            **place,
            **self.tensor("x", x),
            **self.tensor("y", y),
        )

    def chain(self, x: int, y: int, r: int, other: int) -> None:
        """A product in pieces along the reduction, most of them chained to the LOADs before."""
        config, rng = self.config, self.chains
        m = int(rng.integers(1, 17))
        groups = min(config.accumulator_rows // m, WORDS * config.lanes // config.columns)
        n = int(rng.integers(1, min(groups * config.columns, 40) + 1))
        ends = sorted({*rng.integers(1, WORDS + 1, 2).tolist(), WORDS})
        parts = config.lanes // config.rows
        for first, end in pairwise([0, *ends]):
            flags = F.WEIGHTS_IN_MEMORY | (F.CONTINUE if first else NONE)
            flags |= F.HOLD if end < WORDS else self.flags(F.RESIDUAL, F.NARROW, F.KEEP_EXPONENT)
            tensor = self.tensor("x", x)
            tensor["x_base"] += first
            if m >= CHAINED_ROWS and rng.random() < 0.8:
                flags |= F.CHAIN
                if rng.random() < 0.5:  # its writes hold back those of the load
                    self.multiply(other, r, other)
                run = m * config.lanes + int(rng.integers(0, 3)) * config.memory_width
                self.add(
                    Opcode.LOAD,
                    F.CHAIN,
                    space=Space.ROWS8,
                    address=ROWS + int(rng.integers(0, 64)) * config.memory_width,
                    pitch=-(-run // config.memory_width) * config.memory_width,
                    rows=m,
                    words=end - first,
                    base=tensor["x_base"],
                    stride=tensor["x_stride"],
                    slot=tensor["x_slot"],
                )
            if rng.random() < 0.3:
                self.load(other)
            residual = self.tensor("r", r)
            self.add(
                Opcode.MATMUL,
                flags,
                m=m,
                n=n,
                k_tiles=(end - first) * parts - int(rng.integers(parts)),
                p_base=self.count(8),
                r_base=residual["r_base"],
                r_stride=residual["r_stride"],
                w_address=TILES + int(rng.integers(0, 32)) * config.memory_width,
                **tensor,
                **self.tensor("y", y),
            )

    def attend(self, q: int, k: int, v: int, y: int, *, brief: bool = False) -> None:
        """A chain of runs, each with other keys, masks and groups; one block if `brief`.

        Q, K and Vᵀ of the runs to come may be loaded again in between. The exponents of Vᵀ must
        not change: its values are narrow then.
        """
        config, rng = self.config, self.rng
        runs = 1 if brief else int(rng.choice([1, 1, 2, 3, 5]))
        reloads = runs > 1 and rng.random() < 0.5
        if reloads:
            self.load(v, narrow=True)
        tiles = min(16, WORDS * config.lanes) // config.columns
        m, v_tiles = self.count(16), self.count(tiles)
        for run in range(runs):
            # Whole blocks of keys are left out at the start of the run.
            block = int(rng.integers(0, min(16 // config.lanes, WORDS)))
            first = block * config.lanes
            last = first + config.lanes if brief else min(16, WORDS * config.lanes)
            flags = self.flags(F.KEEP_EXPONENT, F.CAUSAL, F.WINDOW, self.wide)
            flags |= F.CONTINUE if run else NONE
            flags |= F.HOLD if run < runs - 1 else NONE
            d_tiles = self.count(min(4, WORDS * config.lanes // config.rows))
            keys, values = self.tensor("w", k), self.tensor("v", v)
            keys["w_base"] += first * self.stride
            keys["w_slot"] += first
            values["v_base"] += block
            self.add(
                Opcode.ATTEND,
                flags,
                m=m,
                t=self.count(last - first),
                d_tiles=d_tiles,
                v_tiles=v_tiles,
                multiplier=int(rng.integers(1 << 14, 1 << 15)),
                shift=int(rng.integers(16, 26)) + (8 if F.WIDE in flags else 0),
                y_shift=int(rng.choice([0, 0, 3, 15])),
                diagonal=self.limit(m),
                window=self.limit(m),
                **self.groups(m, d_tiles * config.rows, v_tiles * config.columns),
                **self.tensor("x", q),
                **keys,
                **values,
                **self.tensor("y", y),
            )
            if reloads and run < runs - 1:
                for number in (q, k, y):
                    if rng.random() < 0.3:
                        self.load(number)
                if rng.random() < 0.7:
                    self.load(v, narrow=True)

    def groups(self, m: int, *widths: int) -> dict[str, int]:
        """Operands that part m queries and their results of so many lanes into groups, or none."""
        if self.rng.random() < 0.3:
            return {}
        period = int(self.rng.choice([p for p in range(1, m + 1) if m % p == 0]))
        places = {"period": period}
        for name, width in zip(("x_group", "y_group"), widths, strict=True):
            words = -(-width // self.config.lanes)
            # Side by side in the same rows, as heads are, or one after the other.
            beside = m // period * words <= WORDS
            places[name] = words if beside else period * self.stride
        return places

    def limit(self, m: int) -> int:
        """A mask's limit: mostly one that cuts through the block of m queries."""
        if self.rng.random() < 0.1:
            return int(self.rng.choice([-(1 << 15), (1 << 15) - 1]))
        return int(self.rng.integers(-m - 1, 18))

    def norm(self, x: int, y: int, g: int) -> None:
        t = self.tensor("g", g)
        words = self.count(WORDS)
        low = (words - 1) * self.config.lanes + 1
        x_tensor = self.tensor("x", x)
        self.add(
            Opcode.NORM,
            self.flags(F.RMS),
            m=self.count(16),
            n=int(self.rng.integers(max(low, 2), words * self.config.lanes + 1)),
            words=words,
            x_base=x_tensor["x_base"],
            x_stride=x_tensor["x_stride"],
            gamma=t["g_base"],
            beta=t["g_base"] + self.stride,
            shift=int(self.rng.integers(10, 20)),
            epsilon=self.count(1 << 20),
            **self.tensor("y", y),
        )

    def multiply(self, x: int, w: int, y: int) -> None:
        y = x if self.rng.random() < 0.3 else y  # in place
        x_tensor, w_tensor, words = self.tensor("x", x), self.tensor("w", w), self.count(WORDS)
        self.add(
            Opcode.MULTIPLY,
            self.flags(F.NARROW, F.KEEP_EXPONENT, F.COMPLEX),
            m=self.count(16),
            words=words,
            x_base=x_tensor["x_base"],
            x_stride=x_tensor["x_stride"],
            period=int(self.rng.integers(0, words + 1)),
            w_base=w_tensor["w_base"],
            w_stride=int(self.rng.choice([0, self.stride])),
            shift=int(self.rng.integers(8, 24)),
            **self.tensor("y", y),
        )

    def argmax(self, x: int, y: int) -> None:
        x_tensor, words = self.tensor("x", x), self.count(WORDS)
        self.add(
            Opcode.ARGMAX,
            self.flags(F.CONTINUE),
            m=self.count(16),
            n=self.count(words * self.config.lanes),
            words=words,
            x_base=x_tensor["x_base"],
            x_stride=x_tensor["x_stride"],
            first=self.count(1 << 17),
            **self.tensor("y", y),
        )


def random_arguments(seed: int) -> list[int]:
    """Values of all argument registers, small and large ones."""
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 1 << 32, ARGUMENTS) >> rng.integers(0, 33, ARGUMENTS)).tolist()


def add_arguments(
    ins: Instruction, arguments: Sequence[int], rng: np.random.Generator
) -> Instruction:
    """Give an instruction additions of arguments with which it is what it was."""
    fields = [f for f in OPCODES[ins.opcode][1] if f.width >= 16]
    operands = dict(ins.operands)
    adds = []
    for _ in range(rng.choice([0, 1, 2, 3, 8]) if fields else 0):
        f = fields[rng.integers(len(fields))]
        register = int(rng.integers(ARGUMENTS))
        adds.append((f.name, register))
        value = operands.get(f.name, 0) - arguments[register]
        operands[f.name] = (value - f.low) % (1 << f.width) + f.low
    return replace(ins, operands=operands, adds=tuple(adds))


def put_program(
    image: np.ndarray, config: MachineConfig, program: Sequence[Instruction], *, most: int = ROWS
) -> None:
    """Write a program at the beginning of an image, with tokens; `most` is its room in bytes."""
    code = assemble(insert_tokens(list(program), config))
    assert len(code) <= most
    image[: len(code)] = np.frombuffer(code, np.uint8)


def random_image(
    config: MachineConfig, seed: int, length: int = 12, *, arguments: Sequence[int] = ()
) -> np.ndarray:
    """Memory with a random program at 0 and random data; its results end before `SIZE`.

    With `arguments` the program adds them to operands.
    """
    rng = np.random.default_rng(seed)
    image = np.zeros(SIZE, np.uint8)
    rows = rng.integers(-(1 << 15), 1 << 15, (PARAMETERS - ROWS) // 2) >> rng.integers(
        0, 14, (PARAMETERS - ROWS) // 2
    )
    image[ROWS:PARAMETERS] = rows.astype("<i2").view(np.uint8)
    entries = np.zeros((128, 4), "<u2")
    entries[:, 0] = rng.integers(0, 1 << 15, 128)
    entries[:, 1] = rng.integers(14, 30, 128)
    entries[:, 2] = rng.integers(0, 1 << 16, 128) & 0x7FF
    image[PARAMETERS:TABLE] = entries.view(np.uint8).reshape(-1)
    image[TABLE:TILES] = rng.integers(0, 256, TILES - TABLE)
    image[TILES:RESULTS] = rng.integers(0, 256, RESULTS - TILES)

    writer = Writer(config, rng)
    for number in range(4):
        writer.load(number)
    writer.load_rest()
    room = SIZE - RESULTS
    for _ in range(length):
        a, b, c, d = (int(i) for i in rng.permutation(4))
        kind = rng.choice(
            ["matmul", "attend", "norm", "multiply", "argmax", "load", "store"],
            p=[0.3, 0.23, 0.12, 0.12, 0.07, 0.08, 0.08],
        )
        if kind == "matmul":
            writer.matmul(a, b, c, d)
        elif kind == "attend":
            writer.attend(a, b, c, d)
            if rng.random() < 0.5:  # one that need not wait for it, and soon comes to its end
                writer.attend(b, a, c, d, brief=True)
        elif kind == "norm":
            writer.norm(a, b, c)
        elif kind == "multiply":
            writer.multiply(a, b, c)
        elif kind == "argmax":
            writer.argmax(a, b)
        elif kind == "load":
            writer.load(a)
        if config.chaining and writer.chains.random() < 0.4:
            writer.chain(a, b, c, d)
        if kind != "load" and writer.result + 20 * WORDS * config.word_bytes <= RESULTS + room:
            writer.store(int(rng.integers(0, 4)))
    program = insert_tokens([*writer.program, Instruction(Opcode.HALT)], config)
    if arguments:
        program = [add_arguments(instruction, arguments, rng) for instruction in program]
    code = assemble(program)
    assert len(code) <= ROWS
    image[: len(code)] = np.frombuffer(code, np.uint8)
    return image
