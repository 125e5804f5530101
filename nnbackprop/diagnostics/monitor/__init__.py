"""The monitor: statistics of a run, measured now and then while it trains, and checks of them."""

from .checks import RUN_CHECKS, check_history, suggest_lr
from .history import CurvePoint, History
from .monitor import Monitor

__all__ = ["RUN_CHECKS", "CurvePoint", "History", "Monitor", "check_history", "suggest_lr"]
