"""The monitor: statistics of a run, measured now and then while it trains, and checks of them."""

from .history import History, Point
from .monitor import Monitor
from .run_checks import RUN_CHECKS, check_history

__all__ = ["RUN_CHECKS", "History", "Monitor", "Point", "check_history"]
