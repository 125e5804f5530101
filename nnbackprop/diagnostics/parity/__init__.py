"""The same training on several array libraries: how far each is from the first, and what parts them."""

from .lockstep import compare

__all__ = ["compare"]
