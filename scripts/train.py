"""`python scripts/train.py --backend cupy` is `nnbackprop train --backend cupy`: the same flags, no more."""

import sys

from nnbackprop.cli import main

main(["train", *sys.argv[1:]])
