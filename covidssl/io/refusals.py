"""What other libraries raise, warn and log while reading, turned into one plain refusal."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from covidssl.errors import CovidsslError, ScanError

_TALKATIVE = ("pydicom", "nibabel", "nibabel.global", "PIL")


@contextmanager
def refusing(source: str, kind: str) -> Iterator[None]:
    """Turn whatever goes wrong inside into a `ScanError` that names `source`.

    The text of the other library is left out on purpose: it may quote a header (names, ids, dates)
    or an absolute path. Its warnings and log lines are held back for the same reason.

    Raises:
        ScanError: for every exception that is not one of ours.
    """
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            _set_level(logger, logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except CovidsslError:
        raise
    except MemoryError:
        raise ScanError(
            f"{source}: does not fit into memory. Read it on a machine with more, or crop it.",
            "no_memory",
        ) from None
    except Exception as error:
        raise ScanError(
            f"{source}: could not be read as {kind} ({type(error).__name__}): the file is damaged, "
            f"truncated or of another format. Export or download it again."
        ) from None
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            _set_level(logger, level)


def _set_level(logger: logging.Logger, level: int) -> None:
    # Setting a level clears every logger's cache: within an outer refusal, thousands of times.
    if logger.level != level:
        logger.setLevel(level)
