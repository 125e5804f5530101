"""A run on disk: configuration, run folder, checkpoints, and training with exact resume."""
