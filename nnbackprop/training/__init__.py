"""The training loop, its events, checkpoints and early stopping."""
