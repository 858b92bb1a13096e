"""A scan and maps of it in the browser of this machine: three planes, one cursor.

`plan` says how the scan is read, `shown` turns all into NIfTI in memory, `library` finds NiiVue,
`page` writes the page, `server` gives all of it to this machine alone. `command` says after a
prediction how to come here.
"""

from covidssl.viewing.command import look_command
from covidssl.viewing.library import viewer_library
from covidssl.viewing.page import pages_of
from covidssl.viewing.plan import ViewConfig
from covidssl.viewing.server import Serving, serving
from covidssl.viewing.shown import Looked, shown_map, shown_scan

__all__ = [
    "Looked",
    "Serving",
    "ViewConfig",
    "look_command",
    "pages_of",
    "serving",
    "shown_map",
    "shown_scan",
    "viewer_library",
]
