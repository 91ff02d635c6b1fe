"""The machine a second time: plain loops over Python integers, written from the architecture page.

It shares no arithmetic with the golden machine, but for the norm, whose square root is specified
by its twin. It is slow, and checks nothing.
"""

from celosia.golden.layernorm import layernorm
from celosia.isa import Flag, Instruction, Opcode, Space


def rnd(x, s):
    return (x + (1 << (s - 1))) >> s if s > 0 else x


def sat(x, bits):
    return max(-(1 << (bits - 1)), min((1 << (bits - 1)) - 1, x))


def clip(x, low, high):
    return max(low, min(high, x))


def number(data, *, signed=False):
    return int.from_bytes(data, "little", signed=signed)


class PlainMachine:
    def __init__(self, config, memory):
        self.config = config
        self.memory = memory
        self.lanes = max(config.rows, config.columns)
        self.scratchpad = [[0] * self.lanes for _ in range(config.scratchpad_words)]
        self.exponents = [0] * config.exponent_slots
        self.parameters = [(0, 0, 0)] * config.parameter_entries
        self.table = [(0, 0)] * 256
        self.arguments = [0] * 32

    def run(self, program=0, arguments=()):
        self.arguments[: len(arguments)] = arguments
        self.mac_rows = self.saturations = self.instructions = 0
        while True:
            ins = Instruction.decode(self.resolved(self.memory[program : program + 64]))
            self.instructions += 1
            if ins.opcode is Opcode.HALT:
                return
            getattr(self, ins.opcode.name.lower())(ins)
            program += 64

    def resolved(self, code):
        """Add arguments to the bytes of an instruction."""
        code = bytearray(code)
        for slot in range(48, 64, 2):
            place, register = 2 * (code[slot] & 31), code[slot + 1] & 31
            end = place + (4 if code[slot] & 32 else 2)
            if place:
                total = number(code[place:end]) + self.arguments[register]
                code[place:end] = (total % (1 << 8 * (end - place))).to_bytes(end - place, "little")
        return code

    def element(self, base, stride, i, k):
        return self.scratchpad[base + i * stride + k // self.lanes][k % self.lanes]

    def quantised(self, base, stride, slot, i, k):
        return sat(rnd(self.element(base, stride, i, k), self.exponents[slot + i]), 8)

    def streamed(self, ins, base, stride, i, k):
        if Flag.WIDE in ins.flags:
            return self.element(base, stride, i, k)
        return self.quantised(base, stride, ins["x_slot"], i, k)

    def write_word(self, address, first_lane, values, slot, first):
        self.scratchpad[address][first_lane : first_lane + len(values)] = values
        union = 0
        for x in values:
            union |= x ^ (x >> 15)
        e = max(0, union.bit_length() - 7)
        self.exponents[slot] = e if first else max(self.exponents[slot], e)

    def load(self, ins):
        address = ins["address"]
        if ins["space"] == Space.PARAMETERS:
            for i in range(ins["words"]):
                entry = self.memory[address + 8 * i : address + 8 * i + 8]
                self.parameters[ins["base"] + i] = (
                    number(entry[0:2]) & 0x7FFF,
                    entry[2] & 63,
                    number(entry[4:6], signed=True),
                )
        elif ins["space"] == Space.TABLE:
            for i in range(256):
                entry = self.memory[address + 4 * i : address + 4 * i + 4]
                self.table[i] = number(entry[:2], signed=True), number(entry[2:], signed=True)
        else:
            size = 2 if ins["space"] == Space.ROWS16 else 1
            for i in range(ins["rows"]):
                at = address + i * ins["pitch"]
                for j in range(ins["words"]):
                    if Flag.CHAIN in ins.flags:
                        at = address + j * ins["pitch"] + i * self.lanes * size
                    word = []
                    for _ in range(self.lanes):
                        word.append(number(self.memory[at : at + size], signed=True))
                        at += size
                    to = ins["base"] + i * ins["stride"] + j
                    self.write_word(to, 0, word, ins["slot"] + i, j == 0)

    def store(self, ins):
        size = 2 if ins["space"] == Space.ROWS16 else 1
        for i in range(ins["rows"]):
            first = ins["first"] if ins["count"] else 0
            for k in range(first, first + (ins["count"] or ins["words"] * self.lanes)):
                at = ins["address"] + i * ins["pitch"] + k * size
                x = self.element(ins["base"], ins["stride"], i, k)
                self.memory[at : at + size] = (x & 0xFFFF).to_bytes(2, "little")[:size]

    def weight(self, ins, channel, kt, r):
        """One stationary element and its exponent."""
        rows = self.config.rows
        if Flag.WEIGHTS_IN_MEMORY in ins.flags:
            return self.stored(ins, channel, kt, r), 0
        place = ins["w_base"], ins["w_stride"], ins["w_slot"]
        return self.quantised(*place, channel, kt * rows + r), self.exponents[
            ins["w_slot"] + channel
        ]

    def stored(self, ins, channel, kt, lane):
        """One weight in memory, times the scale of its group."""
        config, code = self.config, ins["code"]
        rows, columns, m = config.rows, config.columns, config.sparsity
        sparse = Flag.SPARSE in ins.flags
        planes = m.bit_length() - 1
        blocks = (columns + 7) // 8
        padded = config.memory_width
        indices = (planes * blocks * rows + padded - 1) // padded * padded if sparse else 0
        scales = max(2 * columns, rows, padded)
        channels = columns if code == 0 else 2 * columns
        each = 2 ** (ins["group"] - 1) if ins["group"] else 1
        scaled = ins["group"] and code
        tile_bytes = rows * columns + indices
        tile = ins["w_address"]
        scale = 1
        # Walk over all that lies before the tile.
        for nt in range(channel // channels + 1):
            for k in range(ins["k_tiles"]):
                if ins["skip"] >> k // each & 1:
                    if nt == channel // channels and k == kt:
                        return 0
                    continue
                if scaled and k % each == 0:
                    scale = self.memory[tile + channel % channels]
                    tile += scales
                if nt == channel // channels and k == kt:
                    break
                tile += tile_bytes
        column = channel % columns
        total = 0
        for row in range(rows):
            if sparse:
                index = 0
                for plane in range(planes):
                    place = rows * columns + (plane * blocks + column // 8) * rows + row
                    index += (self.memory[tile + place] >> column % 8 & 1) << plane
                if row // (m // 2) * m + index != lane:
                    continue
            elif row != lane:
                continue
            byte = self.memory[tile + column * rows + row]
            if code == 0:
                total += byte - 256 * (byte > 127)
                continue
            nibble = byte >> 4 if channel % channels >= columns else byte & 15
            if code == 1:
                total += nibble - 16 * (nibble > 7)
            else:
                size = (0, 1, 2, 3, 4, 6, 8, 12)[nibble & 7]
                total += -size if nibble > 7 else size
        return int(scale) * int(total)

    def matmul(self, ins):
        columns = self.config.columns
        results = {}
        tiles = -(-ins["n"] // columns)
        if Flag.CONTINUE not in ins.flags:
            self.sums = {}
        for i in range(ins["m"]):
            for channel in range(tiles * columns):
                results[i, channel] = self.product(ins, i, channel) if channel < ins["n"] else 0
        keep = Flag.KEEP_EXPONENT in ins.flags
        for nt in range(tiles):
            for i in range(ins["m"]):
                if ins["code"] == 0 or nt % 2 == 0:  # two tiles of channels at once
                    each = 2 ** max(ins["group"] - 1, 0)
                    there = [k for k in range(ins["k_tiles"]) if not ins["skip"] >> k // each & 1]
                    self.mac_rows += len(there) * (2 if Flag.WIDE in ins.flags else 1)
                if Flag.HOLD in ins.flags:
                    continue
                address = ins["y_base"] + i * ins["y_stride"] + nt * columns // self.lanes
                values = [results[i, nt * columns + c] for c in range(columns)]
                lane = nt * columns % self.lanes
                first = nt == 0 and not keep
                self.write_word(address, lane, values, ins["y_slot"] + i, first)

    def product(self, ins, i, channel):
        acc, e_w, wide = self.sums.get((i, channel), 0), 0, Flag.WIDE in ins.flags
        place = ins["x_base"], ins["x_stride"]
        for kt in range(ins["k_tiles"]):
            psum = 0
            lanes = self.config.rows * (2 if Flag.SPARSE in ins.flags else 1)
            for r in range(lanes):
                w, e_w = self.weight(ins, channel, kt, r)
                k = kt * lanes + r
                psum += self.streamed(ins, *place, i, k) * w
            acc = sat(acc + psum, self.config.accumulator_width)
        self.sums[i, channel] = acc
        if Flag.HOLD in ins.flags:
            return 0
        index = i if Flag.ROW_PARAMETERS in ins.flags else channel
        multiplier, shift, bias = self.parameters[ins["p_base"] + index]
        e_x = 0 if wide else self.exponents[ins["x_slot"] + i]
        t = rnd(acc * multiplier, clip(shift - e_x - e_w, 0, 47)) + bias
        if Flag.RESIDUAL in ins.flags:
            t += rnd(self.element(ins["r_base"], ins["r_stride"], i, channel), ins["r_shift"])
        y = sat(t, 8 if Flag.NARROW in ins.flags else 16)
        self.saturations += y != t
        if Flag.ACTIVATE in ins.flags:
            value, slope = self.table[(y >> 8) + 128]
            y = sat(value + rnd(slope * (y & 255), 8), 16)
        return y

    def attend(self, ins):
        width = ins["v_tiles"] * self.config.columns
        if Flag.CONTINUE not in ins.flags:
            self.held = [(None, 0, [0] * width)] * ins["m"]
        self.held = [self.attend_query(ins, i, *state) for i, state in enumerate(self.held)]
        if Flag.HOLD in ins.flags:
            return
        results = [self.normalise(ins, *state) for state in self.held]
        keep = Flag.KEEP_EXPONENT in ins.flags
        columns = self.config.columns
        for dt in range(ins["v_tiles"]):
            for j, y in enumerate(results):
                g, i = divmod(j, ins["period"] or ins["m"])
                row = ins["y_base"] + g * ins["y_group"] + i * ins["y_stride"]
                values = y[dt * columns : (dt + 1) * columns]
                first = dt == 0 and g == 0 and not keep
                word, lane = divmod(dt * columns, self.lanes)
                self.write_word(row + word, lane, values, ins["y_slot"] + i, first)

    def attend_query(self, ins, j, old, total, output):
        """State of row j after the run: exponent, denominator, output."""
        config, lanes = self.config, self.lanes
        guard = config.accumulator_width - 24
        output = list(output)
        for start in range(0, ins["t"], lanes):
            scores = ins["d_tiles"] * (lanes // config.columns)
            self.mac_rows += scores * (2 if Flag.WIDE in ins.flags else 1)
            self.mac_rows += ins["v_tiles"] * (lanes // config.rows)
            keys = range(start, start + lanes)
            logits = [self.logit(ins, j, k) if self.sees(ins, j, k) else None for k in keys]
            block = -(-max([-(1 << 15)] + [t for t in logits if t is not None]) // 64)
            p = [0 if t is None else self.probability(64 * block - t) for t in logits]
            if old is None:
                exponent, a, b = block, 0, 0
                total = sum(p) << 14
            else:
                exponent = max(old, block)
                if total >> min(exponent - old, 31) >= 1 << 29:
                    exponent += 1
                a, b = min(exponent - old, 31), min(exponent - block, 31)
                total = (total >> a) + ((sum(p) << 14) >> b)
            for c in range(len(output)):
                for tile in range(0, lanes, config.rows):
                    place = ins["v_base"], ins["v_stride"], ins["v_slot"], c
                    s = sum(
                        p[k] * self.quantised(*place, start + k)
                        for k in range(tile, tile + config.rows)
                    )
                    added = (s << guard) >> b
                    if tile == 0:
                        added += (output[c] >> a) if old is not None else 0
                    else:
                        added += output[c]
                    output[c] = sat(added, config.accumulator_width)
            old = exponent
        return old, total, output

    def sees(self, ins, j, k):
        i = j % (ins["period"] or ins["m"])
        return (
            k < ins["t"]
            and (Flag.CAUSAL not in ins.flags or k <= i + ins["diagonal"])
            and (Flag.WINDOW not in ins.flags or k >= i + ins["window"])
        )

    def normalise(self, ins, _, total, output):
        if not total:
            return [0] * len(output)
        length = total.bit_length()
        normalised = total >> (length - 15) if length > 15 else total << (15 - length)
        reciprocal = (2**29 - 1) // normalised
        shift = length + self.config.accumulator_width - 24 - ins["y_shift"]
        return [
            sat(rnd(o * reciprocal, clip(shift - self.exponents[ins["v_slot"] + c], 0, 47)), 16)
            for c, o in enumerate(output)
        ]

    def logit(self, ins, j, k):
        acc = 0
        g, i = divmod(j, ins["period"] or ins["m"])
        place = ins["x_base"] + g * ins["x_group"], ins["x_stride"]
        for dt in range(ins["d_tiles"]):
            d = range(dt * self.config.rows, (dt + 1) * self.config.rows)
            psum = sum(
                self.streamed(ins, *place, i, element)
                * self.quantised(ins["w_base"], ins["w_stride"], ins["w_slot"], k, element)
                for element in d
            )
            acc = sat(acc + psum, self.config.accumulator_width)
        e = 0 if Flag.WIDE in ins.flags else self.exponents[ins["x_slot"] + i]
        e += self.exponents[ins["w_slot"] + k]
        return sat(rnd(acc * ins["multiplier"], clip(ins["shift"] - e, 0, 47)), 16)

    @staticmethod
    def probability(delta):
        table = round(255 * 256 * 2 ** (-(delta & 63) / 64))
        return rnd(table, 8 + (delta >> 6))

    def norm(self, ins):
        for i in range(ins["m"]):
            x, gamma, beta = (
                [self.element(base, 0, 0, k) for k in range(ins["n"])]
                for base in (ins["x_base"] + i * ins["x_stride"], ins["gamma"], ins["beta"])
            )
            scale = {"shift": ins["shift"], "epsilon": ins["epsilon"]}
            y = layernorm([x], gamma, beta, **scale, rms=Flag.RMS in ins.flags)[0].tolist()
            y += [0] * (ins["words"] * self.lanes - len(y))
            for j in range(ins["words"]):
                word = y[j * self.lanes : (j + 1) * self.lanes]
                to = ins["y_base"] + i * ins["y_stride"] + j
                self.write_word(to, 0, word, ins["y_slot"] + i, j == 0)

    def multiply(self, ins):
        keep = Flag.KEEP_EXPONENT in ins.flags
        for i in range(ins["m"]):
            for j in range(ins["words"]):
                x = self.scratchpad[ins["x_base"] + i * ins["x_stride"] + j]
                column = j % ins["period"] if ins["period"] else j
                w = self.scratchpad[ins["w_base"] + i * ins["w_stride"] + column]
                word = [
                    sat(rnd(t, ins["shift"]), 8 if Flag.NARROW in ins.flags else 16)
                    for t in self.products(ins, x, w)
                ]
                to = ins["y_base"] + i * ins["y_stride"] + j
                self.write_word(to, 0, word, ins["y_slot"] + i, j == 0 and not keep)

    def products(self, ins, x, w):
        if Flag.COMPLEX not in ins.flags:
            return [a * b for a, b in zip(x, w, strict=True)]
        found = []
        for k in range(0, self.lanes, 2):
            found.append(x[k] * w[k] - x[k + 1] * w[k + 1])
            found.append(x[k] * w[k + 1] + x[k + 1] * w[k])
        return found

    def argmax(self, ins):
        for i in range(ins["m"]):
            address = ins["y_base"] + i * ins["y_stride"]
            best = None
            if Flag.CONTINUE in ins.flags:
                value, low, high = self.scratchpad[address][:3]
                best = value, (low & 0xFFFF) + (high & 0xFFFF) * 65536
            for k in range(ins["n"]):
                x = self.element(ins["x_base"], ins["x_stride"], i, k)
                if best is None or x > best[0]:
                    best = x, ins["first"] + k
            halves = [
                number((best[1] >> bit & 0xFFFF).to_bytes(2, "little"), signed=True)
                for bit in (0, 16)
            ]
            word = [best[0], *halves] + [0] * (self.lanes - 3)
            self.write_word(address, 0, word, ins["y_slot"] + i, True)
