"""The monitor: statistics of a run, measured now and then while it trains, and checks of them."""

from .checks import RUN_CHECKS, check_history
from .history import CurvePoint, RunHistory
from .learning_rate_checks import suggest_lr
from .monitor import MAX_TIME_SHARE, Monitor

__all__ = [
    "MAX_TIME_SHARE",
    "RUN_CHECKS",
    "CurvePoint",
    "Monitor",
    "RunHistory",
    "check_history",
    "suggest_lr",
]
