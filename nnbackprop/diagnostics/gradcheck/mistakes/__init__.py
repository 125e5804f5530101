"""From a gradient that is wrong to the name of the mistake: by its pattern, and by experiments on the function."""

from .catalogue import MISTAKES
from .naming import name_mistakes

__all__ = ["MISTAKES", "name_mistakes"]
