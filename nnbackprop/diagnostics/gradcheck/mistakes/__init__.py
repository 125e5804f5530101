"""From a wrong gradient to the name of the mistake: by its pattern, and by experiments on the function."""

from .catalogue import MISTAKES, Mistake
from .naming import name_mistakes

__all__ = ["MISTAKES", "Mistake", "name_mistakes"]
