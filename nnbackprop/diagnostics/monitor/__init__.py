"""What goes wrong while a network trains: vital signs measured now and then, and findings judged from them."""

from .checks import judge, judge_rows
from .history import History, Point
from .monitor import Monitor

__all__ = ["History", "Monitor", "Point", "judge", "judge_rows"]
