"""Networks: layers, losses, penalties, initializers, metrics and random keys, as pure functions of arrays."""
