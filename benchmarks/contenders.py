"""The other ways to a field of Perlin noise in Python, each doing the same work.

The same work is: the same number of pixels, octaves and lattice cells, lacunarity 2, persistence
0.5. What can be made ready once (coordinates) is made outside of the call, in a peer's favour.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from math import prod
from typing import Any, NamedTuple

import numpy as np

from benchmarks.plain_perlin import Floats, plain_perlin
from benchmarks.timing import Contender
from covidssl.randomness import numpy_generator

PEERS = ("perlin-numpy", "pyfastnoiselite", "opensimplex", "plain numpy")
REFERENCE = "noise"
NEEDS: Mapping[str, tuple[str, ...]] = {
    REFERENCE: ("noise",),
    "perlin-numpy": ("perlin_numpy",),
    "pyfastnoiselite": ("pyfastnoiselite",),
    "opensimplex": ("opensimplex", "numba"),
    "plain numpy": (),
}
_NOISE_PIXELS = 2**14  # of a field; a whole one in three dimensions takes it about a second


class Work(NamedTuple):
    """A field: its size in pixels, cells of the first octave along every axis, octaves."""

    size: tuple[int, ...]
    cells: int
    octaves: int


def missing() -> list[str]:
    """The contenders whose packages are not installed."""
    return [name for name, needs in NEEDS.items() if not all(map(find_spec, needs))]


def contenders(work: Work) -> list[Contender]:
    """Every contender that is installed; one call draws one field, `noise` a part of one."""
    absent = missing()
    return [
        Contender(name, make(work), _noise_share(work) if name == REFERENCE else 1.0)
        for name, make in _MAKERS.items()
        if name not in absent
    ]


def axes(work: Work) -> list[Floats]:
    """Places of the pixels' centres along each axis, in cells of the first octave."""
    return [
        ((np.arange(pixels) + 0.5) * (work.cells / pixels)).astype(np.float32)
        for pixels in work.size
    ]


def _noise_share(work: Work) -> float:
    return min(1.0, _NOISE_PIXELS / prod(work.size))


def _noise(work: Work) -> Callable[[], list[float]]:
    import noise

    pnoise: Any = {2: noise.pnoise2, 3: noise.pnoise3}[len(work.size)]
    grid = np.meshgrid(*axes(work), indexing="ij")
    count = round(_noise_share(work) * prod(work.size))
    points = np.stack([places.ravel()[:count] for places in grid], axis=1).tolist()
    octaves = work.octaves
    if len(work.size) == 2:
        return lambda: [pnoise(y, x, octaves) for y, x in points]
    return lambda: [pnoise(z, y, x, octaves) for z, y, x in points]


def _perlin_numpy(work: Work) -> Callable[[], Any]:
    import perlin_numpy

    two = len(work.size) == 2
    draw: Any = (
        perlin_numpy.generate_fractal_noise_2d if two else perlin_numpy.generate_fractal_noise_3d
    )
    cells, rng = (work.cells,) * len(work.size), numpy_generator(0)
    return lambda: draw(work.size, cells, octaves=work.octaves, rng=rng)


def _pyfastnoiselite(work: Work) -> Callable[[], Any]:
    from pyfastnoiselite.pyfastnoiselite import FastNoiseLite, FractalType, NoiseType

    generator: Any = FastNoiseLite(0)
    generator.noise_type = NoiseType.NoiseType_Perlin
    generator.fractal_type = FractalType.FractalType_FBm
    generator.fractal_octaves = work.octaves
    generator.frequency = 1.0
    # Its coordinates are x, y, z: the axis that changes fastest first.
    grid = np.meshgrid(*axes(work), indexing="ij")[::-1]
    coordinates = np.stack([places.ravel() for places in grid])
    return lambda: generator.gen_from_coords(coordinates).reshape(work.size)


def _opensimplex(work: Work) -> Callable[[], Any]:
    import opensimplex

    generator = opensimplex.OpenSimplex(0)
    draw: Any = generator.noise2array if len(work.size) == 2 else generator.noise3array
    fastest_first = [places.astype(np.float64) for places in axes(work)][::-1]

    def field() -> Any:
        total = draw(*fastest_first)
        for octave in range(1, work.octaves):
            total += 0.5**octave * draw(*(places * 2.0**octave for places in fastest_first))
        return total

    return field


def _plain_numpy(work: Work) -> Callable[[], Floats]:
    places, permutation = axes(work), numpy_generator(0).permutation(256)
    return lambda: plain_perlin(places, work.octaves, permutation)


_MAKERS: Mapping[str, Callable[[Work], Callable[[], Any]]] = {
    REFERENCE: _noise,
    "perlin-numpy": _perlin_numpy,
    "pyfastnoiselite": _pyfastnoiselite,
    "opensimplex": _opensimplex,
    "plain numpy": _plain_numpy,
}
