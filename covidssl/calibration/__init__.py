"""From a logit to a probability that means what it says, and the operating point.

Both are fitted on validation data alone.
"""

from covidssl.calibration.curve import Calibration, CalibrationKind
from covidssl.calibration.fitting import LEAST_FOR_ISOTONIC, LEAST_OF_A_CLASS, fit_calibration
from covidssl.calibration.points import (
    DEFAULT_POINT,
    CostPoint,
    OperatingPointPlan,
    SensitivityPoint,
    YoudenPoint,
    one_sided,
    youden_point,
)

__all__ = [
    "DEFAULT_POINT",
    "LEAST_FOR_ISOTONIC",
    "LEAST_OF_A_CLASS",
    "Calibration",
    "CalibrationKind",
    "CostPoint",
    "OperatingPointPlan",
    "SensitivityPoint",
    "YoudenPoint",
    "fit_calibration",
    "one_sided",
    "youden_point",
]
