"""Fractal Perlin noise in two and three dimensions, batched, on any device."""

from covidssl.perlin.field import Backend, backend_for, cells_across, perlin
from covidssl.perlin.lattice import Field

__all__ = ["Backend", "Field", "backend_for", "cells_across", "perlin"]
