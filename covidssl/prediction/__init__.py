"""One scan in, a probability with its evidence out; nothing is written here."""

from covidssl.prediction.backends import Backend, FramesSaid, OnnxBackend, TorchBackend
from covidssl.prediction.one_scan import Prediction, predict
from covidssl.prediction.outcomes import refused
from covidssl.prediction.plan import AnswerPlan
from covidssl.prediction.predictor import Predictor
from covidssl.prediction.steps import Answered, Prepared

__all__ = [
    "AnswerPlan",
    "Answered",
    "Backend",
    "FramesSaid",
    "OnnxBackend",
    "Prediction",
    "Predictor",
    "Prepared",
    "TorchBackend",
    "predict",
    "refused",
]
