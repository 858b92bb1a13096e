"""The figures of a run, as PNG: one look, safe for colour-blind eyes, readable at 600 pixels.

Figures are drawn with matplotlib's object interface; nothing touches the state of pyplot.
"""

from covidssl.figures.pretexts import columns_picture, restoration_picture
from covidssl.figures.quality import quality_figure
from covidssl.figures.runs import Arm, comparison_figure, running_mean, training_curve
from covidssl.figures.scores import (
    Rated,
    confusion_figure,
    decision_figure,
    pr_figure,
    reliability_figure,
    roc_figure,
)

__all__ = [
    "Arm",
    "Rated",
    "columns_picture",
    "comparison_figure",
    "confusion_figure",
    "decision_figure",
    "pr_figure",
    "quality_figure",
    "reliability_figure",
    "restoration_picture",
    "roc_figure",
    "running_mean",
    "training_curve",
]
