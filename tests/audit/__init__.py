"""Tests of `covidssl.audit`."""
