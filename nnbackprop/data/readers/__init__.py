"""Readers of file formats: a file in, a RawDataset out, without judging its values."""
