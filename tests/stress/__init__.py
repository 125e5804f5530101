"""The full-size trials: what a test suite of two minutes has no time for, and small versions of the same."""
