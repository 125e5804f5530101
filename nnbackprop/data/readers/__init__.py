"""Readers of file formats: a file in, a Table out, without judging its values."""
