"""The `covidssl` command: a verb a stage."""

from __future__ import annotations

import sys
from typing import NoReturn

from rich.console import Console

from covidssl.cli import (
    data_verbs,
    exchange_verbs,
    inference_verbs,
    learning_verbs,
    model_verbs,
    robustness_verbs,
    viewing_verbs,
)
from covidssl.cli.application import app, in_order_of_the_work
from covidssl.errors import (
    CovidsslError,
    DataError,
    EndedElsewhereError,
    ScanError,
    StoppedError,
    UsageError,
    WeightsError,
)

__all__ = [
    "app",
    "data_verbs",
    "exchange_verbs",
    "inference_verbs",
    "learning_verbs",
    "main",
    "model_verbs",
    "robustness_verbs",
    "viewing_verbs",
]

in_order_of_the_work()


def main() -> NoReturn:
    """Run the command; refusals become one message and an exit code, without a traceback."""
    try:
        app(standalone_mode=True)
    except EndedElsewhereError:
        sys.exit(0)  # the first process says why, and its code is the run's
    except StoppedError as error:
        Console(stderr=True, soft_wrap=True).print(str(error), markup=False, highlight=False)
        sys.exit(error.code)
    except CovidsslError as error:
        Console(stderr=True, soft_wrap=True).print(
            f"Error: {error}", style="red", markup=False, highlight=False
        )
        # Predict keeps 1 for "some scans failed": whatever was given wrongly is a 2.
        wrong = isinstance(error, (UsageError, DataError, WeightsError, ScanError))
        sys.exit(2 if wrong else 1)
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. Go on with --resume.", markup=False)
        sys.exit(130)
    sys.exit(0)
