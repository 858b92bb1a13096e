"""One HTML page from run folders, for a person to read: no server and no network.

Its one script sorts, filters and moves slices; without it tables and pictures are still there.

The page says only what the folders' files say, so that every number can be followed to a run. A
folder is read for what its record calls it (`verb`); a product that is missing or broken is named
on the page, and the rest is shown.
"""

from covidssl.report.page import build_report

__all__ = ["build_report"]
