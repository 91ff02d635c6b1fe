"""The host's side of an array alone, against a twin of its registers; and its self-test."""

import json

import numpy as np
import pytest
from golden_board import GoldenBridge
from numpy.testing import assert_array_equal

from celosia.cli import app
from celosia.errors import DeviceError
from celosia.runtime.array_session import ArraySession
from celosia.runtime.link import SerialLink


class GoldenArray:
    """A serial port with the registers of an array at its end, in NumPy; `wrong` adds to a sum."""

    timeout = None

    def __init__(self, rows, columns, wrong=0):
        self.rows, self.columns, self.wrong = rows, columns, wrong
        self.last = -(-rows // 4) - 1
        self.staged = bytearray(64)
        self.shadow = np.zeros((columns, rows), np.int64)
        self.weights = self.shadow.copy()
        self.sums = np.zeros(columns, np.int64)
        self.bridge, self.buffer = GoldenBridge(self), b""

    @property
    def in_waiting(self):
        return len(self.buffer)

    def write(self, data):
        self.buffer += self.bridge.take(data)

    def read(self, size):
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def close(self):
        pass

    def store(self, address, word):
        region, place = divmod(address, 0x1000)
        index = place % 64 // 4
        if region not in (1, 2) or index > self.last:
            raise KeyError(address)
        self.staged[4 * index : 4 * index + 4] = int(word).to_bytes(4, "little")
        if index < self.last:
            return
        elements = np.frombuffer(self.staged, np.int8)[: self.rows].astype(np.int64)
        if region == 1:
            self.shadow[place // 64] = elements
            return
        if place & 0x100:
            self.weights = self.shadow.copy()
        self.sums = self.weights @ elements
        self.sums[-1] += self.wrong

    def load(self, address):
        if address == 0:
            return self.rows | self.columns << 8
        if not 0x3000 <= address < 0x3000 + 4 * self.columns:
            raise KeyError(address)
        return int(self.sums[(address - 0x3000) // 4]) & 0xFFFFFFFF


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (2, 8), (64, 4)])
def test_products_over_the_line(rows, columns):
    session = ArraySession(SerialLink(GoldenArray(rows, columns)), rows, columns)
    rng = np.random.default_rng(columns)
    for _ in range(3):
        weights = rng.integers(-128, 128, (columns, rows), np.int8)
        streamed = rng.integers(-128, 128, (5, rows), np.int8)
        found = session.products(weights, streamed)
        assert_array_equal(found, streamed.astype(int) @ weights.T.astype(int))


def test_another_array():
    with pytest.raises(DeviceError, match=r"^the board has an array of 4 x 8, not an array of 4 x"):
        ArraySession(SerialLink(GoldenArray(4, 8)), 4, 4)


@pytest.mark.parametrize("wrong", [0, 1])
def test_selftest_of_an_array(wrong, monkeypatch, tmp_path, capsys):
    board = GoldenArray(4, 4, wrong)
    monkeypatch.setattr("celosia.cli.devices.open_port", lambda name, baud: board)
    record = tmp_path / "r.json"
    line = f"selftest -c tiny --core systolic --device serial:X --runs 3 --json {record}"
    assert app.run(line.split()) == wrong
    found = json.loads(record.read_text())
    assert found["parts"]["sums"] == {"compared": 4 * 3 * 4 * 4, "differ": 4 * 3 * 4 * wrong}
    assert found["equal"] is (wrong == 0)
    said = capsys.readouterr()
    told = said.err if wrong else said.out
    assert ("column 3 of run 0 is" if wrong else "equal") in " ".join(told.split())


def test_only_boards_have_an_array_alone(capsys):
    assert app.run("selftest -c tiny --core systolic".split()) != 0
    assert "--core tests systolic on a board" in capsys.readouterr().err
