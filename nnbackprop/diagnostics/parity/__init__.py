"""Parity: the same training on several array libraries, each compared with the first tensor by tensor."""
