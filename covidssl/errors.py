"""Every refusal of covidssl, as one family, so that a caller can catch it by one name."""

from __future__ import annotations


class CovidsslError(Exception):
    """Base of all refusals: says what was wrong, what was expected, what to do, and which file."""


class UsageError(CovidsslError):
    """The command or configuration is wrong: an unknown key, an output that exists (exit 2)."""


class ScanError(CovidsslError):
    """One scan cannot be used; the others can."""


class DataError(CovidsslError):
    """A dataset, split or store cannot be used as it stands."""


class WeightsError(CovidsslError):
    """Weights and card do not fit each other or the network, or the file is no safetensors."""


class TrainingError(CovidsslError):
    """Training cannot go on: a loss that is not finite, too few images for a batch."""
