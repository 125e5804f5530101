"""Proof that what is computed is what was derived, on the library at hand."""
