"""The training loop: trainer, steps, batches, evaluation, callbacks. It touches no file and no console."""
