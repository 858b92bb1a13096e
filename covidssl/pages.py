"""Where the templates of HTML pages are read, and how strictly."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined


def environment() -> Environment:
    """Templates of the package: values are escaped, and one that is missing is an error."""
    return Environment(
        loader=PackageLoader("covidssl", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
