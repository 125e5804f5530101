"""The monitor: statistics of a run, measured now and then while it trains, and checks of them."""

from .checks import RUN_CHECKS, check_history
from .history import CurvePoint, History
from .learning_rate_checks import suggest_lr
from .monitor import Monitor

__all__ = ["RUN_CHECKS", "CurvePoint", "History", "Monitor", "check_history", "suggest_lr"]
