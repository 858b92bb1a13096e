"""A run as it learns: the loop with its books, its view, its checkpoints and its ends."""

from covidssl.learning.keeping import Notes
from covidssl.learning.loop import STOPPED_EARLY, Learning, OnStep, learn
from covidssl.learning.step_files import last_tenth
from covidssl.learning.together import Together

__all__ = ["STOPPED_EARLY", "Learning", "Notes", "OnStep", "Together", "last_tenth", "learn"]
