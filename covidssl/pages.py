"""Where the templates of HTML pages are read, and how strictly."""

from __future__ import annotations

from jinja2 import Environment, PackageLoader, StrictUndefined

from covidssl.legible import legible


def environment() -> Environment:
    """Templates of the package: values are escaped, and one that is missing is an error."""
    return Environment(
        loader=PackageLoader("covidssl", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def markdown_environment() -> Environment:
    """Templates of pages in Markdown: a value is text, and never markup of its own."""
    return Environment(
        loader=PackageLoader("covidssl", "templates"),
        autoescape=False,  # noqa: S701 (no HTML is written; `_plain` disarms what a value holds)
        undefined=StrictUndefined,
        finalize=_plain,
        trim_blocks=True,
        lstrip_blocks=True,
    )


_MARKUP = str.maketrans({mark: f"\\{mark}" for mark in "\\`*_[]<>|#"})


def _shown(value: object) -> object:
    # Markup of a template's own is left as it is.
    return legible(value, lines=True) if type(value) is str else value


def _plain(value: object) -> object:
    """A value in one line, with what Markdown or HTML would read as markup escaped."""
    if not isinstance(value, str):
        return value
    return legible(" ".join(value.split())).translate(_MARKUP)
