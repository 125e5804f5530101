"""Four people: the smallest set a network can learn, from Victor Zhou's introduction to neural networks.

Weight minus 135 pounds, height minus 66 inches; the output near 1 means F, so F is label 1.
Source: https://victorzhou.com/blog/intro-to-neural-networks/
"""

from __future__ import annotations

import numpy as np

from .table import Table

PEOPLE = (  # weight, height, label
    (-2, -1, 1),
    (25, 6, 0),
    (17, 4, 0),
    (-15, -6, 1),
)
SEXES = {0: "M", 1: "F"}


def read() -> Table:
    """The four people; there is no test part."""
    people = np.array(PEOPLE, np.float64)
    note = "weight is in pounds less 135, height in inches less 66"
    return Table.of(people[:, :2], people[:, 2].astype(np.int64), "weight-height (embedded)", SEXES, (note,))
