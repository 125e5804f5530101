"""Backpropagation derived by hand, written once against the Array API standard."""
