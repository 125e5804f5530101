"""Data-parallel training: batches in shards, gradients summed over MPI in the shards' order."""
