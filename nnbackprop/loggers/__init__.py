"""Loggers: callbacks that write what happens in training for other tools to show."""
