#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""NumPy arrays in place: the rows of a matrix are put in another order by the device, and summed up.

    arrays.py            HSL_DEVICE=cpu arrays.py, where no device is
"""

import sys

import hsl
import numpy as np

ROWS, COLUMNS = 48, 10000


def main():
    matrix = np.arange(ROWS * COLUMNS, dtype=np.float64).reshape(ROWS, COLUMNS)
    order = np.random.default_rng(1).permutation(ROWS)
    out = np.empty_like(matrix)

    with hsl.open() as device, device.queue(sq_entries=64) as q:
        for to, row in enumerate(order):
            q.prep_copy(out[to], matrix[row], user_data=row)
        q.submit()
        rows = sorted(done.check().user_data for done in q.completions())
        whole = q.crc32c(out)

        # A part goes on where the one before has ended.
        parts = 0
        for part in np.split(out, 4):
            parts = q.crc32c(part, parts)

    good = rows == list(range(ROWS)) and (out == matrix[order]).all() and parts == whole
    print("%d rows moved, %s, CRC-32C %08x" % (len(rows), "as numpy does it" if good else "wrong", whole))
    return not good


try:
    sys.exit(main())
except hsl.Error as e:
    sys.exit("arrays.py: %s" % e.strerror)
