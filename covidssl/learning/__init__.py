"""A run as it learns: the loop with its books, its view, its checkpoints and its ends."""

from covidssl.learning.keeping import Notes
from covidssl.learning.loop import STOPPED_EARLY, Learning, OnStep, learn
from covidssl.learning.step_files import last_tenth

__all__ = ["STOPPED_EARLY", "Learning", "Notes", "OnStep", "last_tenth", "learn"]
