"""What goes wrong while a network trains: vital signs measured now and then, and findings judged from them."""

from .history import History, Point
from .judge import judge, judge_rows
from .watch import Watch

__all__ = ["History", "Point", "Watch", "judge", "judge_rows"]
