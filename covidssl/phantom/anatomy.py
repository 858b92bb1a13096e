"""The body of the phantom: wall, bones, mediastinum, diaphragm and the space of the lungs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from covidssl.phantom.canvas import Array, Canvas

FAT_HU, MUSCLE_HU, BONE_HU, MARROW_HU = -100.0, 50.0, 620.0, 190.0
AIRWAY_HU = -985.0


class Build(NamedTuple):
    """One person; lengths in mm."""

    half_width: float
    half_depth: float
    fat: float
    muscle: float
    heart: float
    blood_hu: float
    dome: float
    bone: float
    tilt: float


class Chest(NamedTuple):
    """Where the lungs are, and where vessels enter them.

    Attributes:
        lungs: (Z, Y, X) share of each voxel in the lungs, 0 to 1.
        mediastinum: (Z, Y, X) share of each voxel in the mediastinum.
        cage: radii (x, y) of the rib cage in mm, a (Z, 1, 1) each.
        hila: roots of the right and left lung, (x, y, z) in mm.
    """

    lungs: Array
    mediastinum: Array
    cage: tuple[Array, Array]
    hila: tuple[tuple[float, float, float], ...]


def draw_build(rng: np.random.Generator, extent_mm: float) -> Build:
    """A person who fits a picture of the given width in mm."""
    half_width = extent_mm / 2 * rng.uniform(0.82, 0.95)
    return Build(
        half_width=half_width,
        half_depth=half_width * rng.uniform(0.7, 0.82),
        fat=half_width * rng.uniform(0.03, 0.1),
        muscle=half_width * rng.uniform(0.06, 0.09),
        heart=rng.uniform(0.85, 1.15),
        blood_hu=float(rng.choice([42.0, 42.0, 150.0])) + rng.uniform(-5, 25),
        dome=rng.uniform(0.2, 0.38),
        bone=rng.uniform(0.8, 1.2),
        tilt=rng.uniform(-0.04, 0.04),
    )


def paint_body(canvas: Canvas, build: Build, rng: np.random.Generator) -> Chest:
    """Paint wall, bones and belly; the lungs' tissue and the mediastinum come after it."""
    u = canvas.height()
    cage = _paint_wall(canvas, build, u, rng)
    inner = canvas.ellipse((0.0, 0.0), cage)
    _paint_spine(canvas, build, cage, rng)
    size = _size(build)
    mediastinum = _mediastinum(canvas, build, cage, u)
    back = _spine_y(build, cage)
    spine = canvas.ellipse((0.0, back + 4 * size), (21.0 * size, 23.0 * size))
    wings = canvas.ellipse((0.0, back + 22 * size), (40.0 * size, 14.0 * size))
    spine = np.maximum(spine, wings)
    lungs = canvas.cover(inner - 1.0)
    for level in (mediastinum, spine, _diaphragm(canvas, build, cage, u)):
        lungs = lungs * (1 - canvas.cover(level))
    between = canvas.cover(np.minimum(mediastinum, inner)) * (1 - canvas.cover(spine))
    top = canvas.top_mm
    hila = tuple((side * 34 * size, 6.0 * size, 0.52 * top) for side in (-1, 1))
    return Chest(lungs, between, cage, hila)


def _size(build: Build) -> float:
    """Scale of bones and vessels relative to a person 300 mm wide."""
    return build.half_width / 150.0


def _spine_y(build: Build, cage: tuple[Array, Array]) -> Array:
    """Middle of the vertebrae: they stand into the chest, with lung on both sides."""
    return np.maximum(cage[1], cage[1].max() * 0.92) - 25 * _size(build)


def _paint_wall(
    canvas: Canvas, build: Build, u: Array, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Skin, fat, muscle, ribs, sternum, shoulder blades; the radii (x, y) of the rib cage."""
    n = 2.5
    across, down = np.abs(canvas.x / build.half_width), np.abs(canvas.y / build.half_depth)
    body = (1 - (across**n + down**n) ** (1 / n)) * build.half_depth + 0 * u
    body = body.astype(np.float32)
    canvas.paint(body, 10.0)
    canvas.paint(body - 2.5, FAT_HU)
    wall = build.fat + 2.5
    canvas.paint(body - wall * (1 + 0.4 * across**2), MUSCLE_HU)
    # Narrow towards the apex, widest above the diaphragm.
    profile = (1 - 0.22 * np.clip((u - 0.45) / 0.55, 0, 1) ** 2).astype(np.float32)
    cage = (
        (build.half_width - 1.35 * wall - build.muscle) * profile,
        (build.half_depth - wall - build.muscle) * (0.55 + 0.45 * profile),
    )
    _paint_ribs(canvas, build, cage, rng)
    size = _size(build)
    front = -cage[1] - 5 * size
    sternum = canvas.ellipse((0.0, front), (17 * size, 6 * size))
    _paint_bone(canvas, sternum - 40 * (np.abs(u - 0.6) > 0.42), 3.0, build)
    _paint_shoulder_blades(canvas, build, cage, u)
    return cage


def _paint_ribs(
    canvas: Canvas, build: Build, cage: tuple[Array, Array], rng: np.random.Generator
) -> None:
    """Rings of bone falling from spine to front: a slice cuts each into pieces."""
    size = _size(build)
    depth = -canvas.ellipse((0.0, 0.0), cage) - 6 * size
    from_back = np.abs(np.arctan2(canvas.x / cage[0], canvas.y / cage[1])) / np.float32(np.pi)
    phase = canvas.z / 26.0 + from_back * 2.6 + rng.uniform()
    gap = np.abs((phase % 1.0) - 0.5) * 26.0
    across = np.maximum(np.abs(gap) - 4.5 * size, 0)
    level = 4.2 * size - np.sqrt(depth * depth + across * across)
    cartilage = from_back > 0.86
    _paint_bone(canvas, np.where(cartilage, -9, level).astype(np.float32), 2.2, build)


def _paint_bone(canvas: Canvas, level: Array, cortex_mm: float, build: Build) -> None:
    canvas.paint(level, BONE_HU * build.bone)
    canvas.paint(level - cortex_mm, MARROW_HU * build.bone)


def _paint_shoulder_blades(
    canvas: Canvas, build: Build, cage: tuple[Array, Array], u: Array
) -> None:
    """Two thin plates behind the ribs, in the upper part."""
    turn = np.arctan2(np.abs(canvas.x) / cage[0], canvas.y / cage[1])
    ring = -canvas.ellipse((0.0, 0.0), cage) - 17 * _size(build)
    level = 2.6 * _size(build) - np.abs(ring)
    reach = np.clip((u - 0.4) * 1.4, 0, 0.55)
    _paint_bone(canvas, np.where(np.abs(turn - 0.85) < reach, level, -9), 2.4, build)


def _paint_spine(
    canvas: Canvas, build: Build, cage: tuple[Array, Array], rng: np.random.Generator
) -> None:
    size = _size(build)
    middle = _spine_y(build, cage)
    phase = (canvas.z / 27.0 + rng.uniform()) % 1.0
    disc = np.clip((0.09 - np.abs(phase - 0.5)) * 27 / 4 + 0.5, 0, 1).astype(np.float32)
    for side in (-1.0, 1.0):
        wing = canvas.ellipse((side * 22 * size, middle + 20 * size), (19 * size, 5 * size))
        _paint_bone(canvas, wing - 20 * (np.abs(phase - 0.1) > 0.25), 2.4, build)
    arch = canvas.ellipse((0.0, middle + 19 * size), (14 * size, 14 * size))
    _paint_bone(canvas, arch, 3.0, build)
    thorn = canvas.ellipse((0.0, middle + 31 * size), (4.5 * size, 11 * size))
    _paint_bone(canvas, thorn, 2.2, build)
    canvas.paint(canvas.ellipse((0.0, middle + 20 * size), (9 * size, 8.5 * size)), 25.0)
    vertebra = canvas.ellipse((0.0, middle), (18 * size, 15 * size))
    bone = canvas.cover(vertebra) * (1 - disc)
    canvas.blend(canvas.cover(vertebra), 85.0)
    canvas.blend(bone, BONE_HU * build.bone * 0.75)
    canvas.blend(canvas.cover(vertebra - 2.6) * (1 - disc), MARROW_HU * build.bone)


def _mediastinum(canvas: Canvas, build: Build, cage: tuple[Array, Array], u: Array) -> Array:
    """Depth (mm) in what lies between the lungs."""
    size = _size(build)
    width = (27 + 5 * np.abs(u - 0.55)) * size
    column = canvas.ellipse((3 * size, -8 * size), (width, cage[1] * 0.8))
    front = canvas.ellipse((2 * size, -cage[1] * 0.75), ((9 + 10 * u) * size, cage[1] * 0.5))
    behind = canvas.ellipse((8 * size, cage[1] * 0.55), (19 * size, cage[1] * 0.4))
    return np.maximum(np.maximum(column, front), np.maximum(behind, _heart(canvas, build, u)))


def _heart(canvas: Canvas, build: Build, u: Array) -> Array:
    """The heart, an egg that lies to the left and front; widest low, gone above the middle."""
    size = _size(build) * build.heart
    grown = np.sqrt(np.clip(1 - ((u - 0.2) / 0.36) ** 2, 0, 1)).astype(np.float32)
    x, y = canvas.x - (22 * size * grown), canvas.y + 30 * size
    along = (x * 0.85 + y * -0.35) / (62 * size * grown + 1e-3)
    across = (y * 0.85 + x * 0.35) / (47 * size * grown + 1e-3)
    level = (1 - np.sqrt(along * along + across * across)) * 47 * size * grown
    return np.asarray(level - 3 * (grown <= 0), dtype=np.float32)


def paint_mediastinum(canvas: Canvas, build: Build, chest: Chest) -> None:
    """Fat, then heart, great vessels, airways and gullet in it."""
    size, blood, inside, u = _size(build), build.blood_hu, chest.mediastinum, canvas.height()
    canvas.blend(inside, FAT_HU + 15)
    canvas.blend(inside * canvas.cover(_heart(canvas, build, u) - 4 * size), blood - 5)
    top = canvas.top_mm

    def tube(
        a: tuple[float, float, float], b: tuple[float, float, float], r: float, hu: float
    ) -> None:
        scale = np.array([size, size, top])
        canvas.paint_tube(np.array(a) * scale, np.array(b) * scale, r * size, hu)

    tube((-12, -30, 0.35), (-12, -22, 0.72), 16, blood)
    tube((-12, -22, 0.74), (22, 32, 0.76), 13, blood)
    tube((24, 46, -0.2), (22, 36, 0.74), 12, blood)
    tube((-30, -24, 0.4), (-28, -22, 1.1), 9, blood + 8)
    tube((4, -38, 0.48), (20, -14, 0.54), 14, blood)
    tube((12, -8, 0.54), (-38, 2, 0.52), 11, blood)
    tube((16, -12, 0.55), (40, 4, 0.53), 11, blood)
    for x in (-24, -8, 14):
        tube((x, -18, 0.84), (x * 1.3, -20, 1.2), 6.5, blood)
    tube((7, 30, -0.2), (4, 26, 1.2), 7, 35.0)
    tube((0, 12, 0.6), (0, 8, 1.2), 10.5, 30.0)
    tube((0, 12, 0.6), (0, 8, 1.2), 8.5, AIRWAY_HU)
    for side in (-1, 1):
        tube((0, 12, 0.6), (side * 34, 12, 0.46), 6.5, AIRWAY_HU)


def _diaphragm(canvas: Canvas, build: Build, cage: tuple[Array, Array], u: Array) -> Array:
    """Depth (mm) below the two domes; liver and spleen are painted where they rise."""
    levels = []
    span = np.float32(canvas.top_mm)
    for side, height, hu in ((-1, build.dome, 62.0), (1, build.dome * 0.8, 48.0)):
        away = ((canvas.x - side * cage[0] * 0.5) / (cage[0] * 0.62)) ** 2
        away = away + ((canvas.y + cage[1] * 0.18) / (cage[1] * 0.95)) ** 2
        dome = np.sqrt(np.clip(1.15 - away, 0, None)) * height - 0.06
        level = np.where(away < 1.15, (dome - u) * span, -20).astype(np.float32)
        inside = np.minimum(level, canvas.ellipse((0.0, 0.0), cage))
        canvas.paint(inside, hu)
        levels.append(level)
    bubble = canvas.ellipse((cage[0] * 0.5, -cage[1] * 0.45), (cage[0] * 0.2, cage[1] * 0.16))
    canvas.paint(np.minimum(bubble, levels[1] - 9), -940.0)
    return np.maximum(levels[0], levels[1])
