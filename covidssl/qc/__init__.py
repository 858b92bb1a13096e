"""Looking at a prepared store: a small picture of every scan, and pages sorted by suspicion.

The pages hold names, verdicts and numbers of the manifest, and no header.
"""

from covidssl.qc.page import write_page
from covidssl.qc.thumbnail import thumbnail

__all__ = ["thumbnail", "write_page"]
