"""Where the host finds the array where it is alone on a board."""

__all__ = ["ROW", "SUMS", "SWAP", "WEIGHTS"]

#: Of the weights of column `c`, four to a word from row 0 on: `WEIGHTS + 64·c`, the last
#: word loads them.
WEIGHTS = 0x1000
#: Of a row's elements, four to a word; the last word streams the row. With `SWAP` added, columns
#: loaded since the last such row are in use from this one on.
ROW, SWAP = 0x2000, 0x100
#: Of the sums of the last row, one to a word, with sign. Only these can be read, and at address 0
#: `rows | columns << 8`; anything else reads as one of them.
SUMS = 0x3000
