"""`python scripts/parity.py --backends numpy,cupy` is `nnbackprop parity --backends numpy,cupy`: the same."""

import sys

from nnbackprop.cli import main

main(["parity", *sys.argv[1:]])
