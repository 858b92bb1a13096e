"""The version of covidssl, in one place."""

__version__ = "0.1.0"
