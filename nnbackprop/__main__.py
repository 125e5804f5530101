"""`python -m nnbackprop` is `nnbackprop`."""

from .cli import main

main()
