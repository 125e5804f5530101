"""The monitor: statistics of a run, measured now and then while it trains, and checks of them."""

from .checks import RUN_CHECKS, check_history, lower_rate
from .history import History, Point
from .monitor import Monitor

__all__ = ["RUN_CHECKS", "History", "Monitor", "Point", "check_history", "lower_rate"]
