"""Proof that what is computed is what was derived, on the library at hand."""

from nnbackprop.diagnostics.gradcheck.gradcheck import Report, gradcheck, gradcheck_function

__all__ = ["Report", "gradcheck", "gradcheck_function"]
