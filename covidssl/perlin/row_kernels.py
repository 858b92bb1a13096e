"""Compiled by numba: the row form of Perlin noise; `covidssl.perlin.rows` explains and calls it."""

from __future__ import annotations

import numpy as np

from covidssl.perlin.lattice_kernels import (
    BLOCK,
    aligned,
    along,
    compiled,
    hash_gradients,
    line,
    spread_taps,
    two_lines,
)

_U = np.uint64


@compiled
def _fold(planes, near, far, w, into, row, pixels):  # type: ignore[no-untyped-def]
    """Between two lattice planes: lines A, B, C of each (rows near.., far..) to one A and one B."""
    w0, d0, w1, d1 = w[0], w[1], w[2], w[3]
    below, above = _U(near), _U(far)
    one, two = _U(1), _U(2)
    for x in range(_U(pixels)):
        into[row, x] = (w0 * planes[below, x] + d0 * planes[below + two, x]) + (
            w1 * planes[above, x] + d1 * planes[above + two, x]
        )
    for x in range(_U(pixels)):
        into[row + one, x] = w0 * planes[below + one, x] + w1 * planes[above + one, x]


@compiled
def _put_one(out, z, y, l, c):  # type: ignore[no-untyped-def]  # noqa: E741
    c0, c1, c2, c3 = c[y, 0], c[y, 1], c[y, 2], c[y, 3]
    for x in range(_U(out.shape[2])):
        one = c0 * l[0, x] + c1 * l[1, x] + c2 * l[2, x] + c3 * l[3, x]
        out[z, y, x] = one


@compiled
def _put_two(out, z, y, l, c):  # type: ignore[no-untyped-def]  # noqa: E741
    c0, c1, c2, c3 = c[y, 0], c[y, 1], c[y, 2], c[y, 3]
    d0, d1, d2, d3 = c[y, 4], c[y, 5], c[y, 6], c[y, 7]
    for x in range(_U(out.shape[2])):
        one = c0 * l[0, x] + c1 * l[1, x] + c2 * l[2, x] + c3 * l[3, x]
        two = d0 * l[4, x] + d1 * l[5, x] + d2 * l[6, x] + d3 * l[7, x]
        out[z, y, x] = one + two


@compiled
def _put_three(out, z, y, l, c):  # type: ignore[no-untyped-def]  # noqa: E741
    c0, c1, c2, c3 = c[y, 0], c[y, 1], c[y, 2], c[y, 3]
    d0, d1, d2, d3 = c[y, 4], c[y, 5], c[y, 6], c[y, 7]
    e0, e1, e2, e3 = c[y, 8], c[y, 9], c[y, 10], c[y, 11]
    for x in range(_U(out.shape[2])):
        one = c0 * l[0, x] + c1 * l[1, x] + c2 * l[2, x] + c3 * l[3, x]
        two = d0 * l[4, x] + d1 * l[5, x] + d2 * l[6, x] + d3 * l[7, x]
        three = e0 * l[8, x] + e1 * l[9, x] + e2 * l[10, x] + e3 * l[11, x]
        out[z, y, x] = (one + two) + three


@compiled
def _put_four(out, z, y, l, c):  # type: ignore[no-untyped-def]  # noqa: E741
    c0, c1, c2, c3 = c[y, 0], c[y, 1], c[y, 2], c[y, 3]
    d0, d1, d2, d3 = c[y, 4], c[y, 5], c[y, 6], c[y, 7]
    e0, e1, e2, e3 = c[y, 8], c[y, 9], c[y, 10], c[y, 11]
    f0, f1, f2, f3 = c[y, 12], c[y, 13], c[y, 14], c[y, 15]
    for x in range(_U(out.shape[2])):
        one = c0 * l[0, x] + c1 * l[1, x] + c2 * l[2, x] + c3 * l[3, x]
        two = d0 * l[4, x] + d1 * l[5, x] + d2 * l[6, x] + d3 * l[7, x]
        three = e0 * l[8, x] + e1 * l[9, x] + e2 * l[10, x] + e3 * l[11, x]
        four = f0 * l[12, x] + f1 * l[13, x] + f2 * l[14, x] + f3 * l[15, x]
        out[z, y, x] = (one + two) + (three + four)


@compiled
def _add_one(out, z, y, lines, c, first):  # type: ignore[no-untyped-def]
    i = _U(first)
    j, k, m = i + _U(1), i + _U(2), i + _U(3)
    c0, c1, c2, c3 = c[y, i], c[y, j], c[y, k], c[y, m]
    for x in range(_U(out.shape[2])):
        one = c0 * lines[i, x] + c1 * lines[j, x] + c2 * lines[k, x] + c3 * lines[m, x]
        out[z, y, x] += one


@compiled
def _sum_row(out, z, y, lines, c, octaves):  # type: ignore[no-untyped-def]
    """Add up the octaves of one line of pixels, the first four while they are in registers."""
    if octaves == 1:
        _put_one(out, z, y, lines, c)
    elif octaves == 2:
        _put_two(out, z, y, lines, c)
    elif octaves == 3:
        _put_three(out, z, y, lines, c)
    else:
        _put_four(out, z, y, lines, c)
    for octave in range(4, octaves):
        _add_one(out, z, y, lines, c, 4 * octave)


@compiled
def _factors(near, weights, amplitude):  # type: ignore[no-untyped-def]
    """What the lines of each octave count for in every line of pixels, (Y, 4 O).

    A lattice row k has its lines A and B in slot k & 1 of its octave.
    """
    count, rows = near.shape
    factors = np.zeros((rows, 4 * count), np.float32)
    for o in range(count):
        for row in range(rows):
            for side in range(2):
                at = 4 * o + 2 * ((near[o, row] + side) & 1)
                factors[row, at] = weights[o, 2 * side, row] * amplitude[o]
                factors[row, at + 1] = weights[o, 2 * side + 1, row] * amplitude[o]
    return factors


@compiled
def _plane_lines(gradients, o, k, x, planes, at, pixels):  # type: ignore[no-untyped-def]
    """Lines A, B and C of every lattice row of the k-th lattice plane, in rows from `at`."""
    values, first, points = gradients
    for i in range(points[o, 1]):
        begin = first[o] + (k * points[o, 1] + i) * points[o, 2]
        row = _U(at + 3 * i)
        two_lines(values, begin, x, o, planes, row, pixels)
        line(values, 0, begin, x, o, planes, row + _U(2), pixels)


@compiled
def _draw_lines(out, z, lo, hi, gradients, x, y, deep, scratch):  # type: ignore[no-untyped-def]
    """The lines lo to hi of one plane.

    Neighbouring lattice rows lie in two slots of `lines`: further down, one of the two is new.
    `y` is (near, factors); `deep` is (depth weights, planes, where each octave's two planes begin),
    the first of which is empty for a field without depth.
    """
    values, first, points = gradients
    near, factors = y
    depth, planes, begins = deep
    lines, ready = scratch
    pixels, count = out.shape[2], near.shape[0]
    ready[:] = -1
    for row in range(lo, hi):
        for o in range(count):
            for k in range(near[o, row], near[o, row] + 2):
                if ready[o, k & 1] == k:
                    continue
                ready[o, k & 1] = k
                at = _U(4 * o + 2 * (k & 1))
                if depth.shape[0] > 0:
                    below, above = begins[o, 0] + 3 * k, begins[o, 1] + 3 * k
                    _fold(planes, below, above, depth[o], lines, at, pixels)
                else:
                    two_lines(values, first[o] + k * points[o, 1], x, o, lines, at, pixels)
        _sum_row(out, z, row, lines, factors, count)


@compiled
def _draw_deep(out, lo, hi, gradients, x, y, z, scratch):  # type: ignore[no-untyped-def]
    """The planes lo to hi of a field with depth; `z` is (near, weights)."""
    _, _, points = gradients
    near, weights = z
    pixels, count = out.shape[2], near.shape[0]
    rows = 0
    begins = np.zeros((count, 2), np.int64)
    first = np.zeros((count, 2), np.int64)
    for o in range(count):
        first[o, 0], first[o, 1] = rows, rows + 3 * points[o, 1]
        rows += 6 * points[o, 1]
    planes = aligned(rows, scratch[0].shape[1])
    ready = np.full((count, 2), -1)
    depth = np.zeros((count, 4), np.float32)
    for plane in range(lo, hi):
        for o in range(count):
            for side in range(2):
                k = near[o, plane] + side
                begins[o, side] = first[o, k & 1]
                depth[o, 2 * side] = weights[o, 2 * side, plane]
                depth[o, 2 * side + 1] = weights[o, 2 * side + 1, plane]
                if ready[o, k & 1] != k:
                    ready[o, k & 1] = k
                    _plane_lines(gradients, o, k, x, planes, first[o, k & 1], pixels)
        deep = (depth, planes, begins)
        _draw_lines(out, plane, 0, out.shape[1], gradients, x, y, deep, scratch)


@compiled
def _first_points(points, count):  # type: ignore[no-untyped-def]
    """Where the gradients of each octave begin, (O + 1,), and the end of the last."""
    first = np.zeros(count + 1, np.int64)
    for o in range(count):
        number = 1
        for axis in range(points.shape[1]):
            number *= points[o, axis]
        first[o + 1] = first[o] + number
    return first


@compiled
def draw_field(out, lo, hi, start, step, points, amplitude, key, table, given):  # type: ignore[no-untyped-def]
    """One field: the lines (two axes) or planes (three axes) lo to hi of out (Z, Y, X).

    Args:
        out: float32, C order; a field of two axes has Z = 1.
        lo: first line or plane to draw.
        hi: line or plane to end before.
        start: (O, D) as in `covidssl.perlin.lattice.Octaves`, O the octaves of this field.
        step: (O, D).
        points: (O, D).
        amplitude: (O,) float32.
        key: (O,) uint32.
        table: (n, D) gradients to choose from.
        given: (D, points of all octaves) gradients; empty to hash them from the keys.
    """
    count, axes = start.shape
    pixels = out.shape[2]
    width = (pixels + BLOCK - 1) // BLOCK * BLOCK
    first = _first_points(points, count)
    # Blocks read four points, more than a lattice may have.
    values = np.zeros((axes, first[count] + 4), np.float32)
    x_base, x_sizes = np.zeros((count, width), np.int64), np.zeros(count, np.int64)
    x_taps = aligned(8 * count, width)
    x_near, x_weights = np.zeros(pixels, np.int64), np.zeros((4, pixels), np.float32)
    y_near = np.zeros((count, out.shape[1]), np.int64)
    y_weights = np.zeros((count, 4, out.shape[1]), np.float32)
    z_near = np.zeros((count, out.shape[0]), np.int64)
    z_weights = np.zeros((count, 4, out.shape[0]), np.float32)
    for o in range(count):
        if given.shape[1] == 0:
            hash_gradients(key[o], points[o], table, values, first[o])
        along(start[o, axes - 1], step[o, axes - 1], x_near, x_weights)
        x_sizes[o] = spread_taps(x_near, x_weights, x_base[o], x_taps, 8 * o)
        along(start[o, axes - 2], step[o, axes - 2], y_near[o], y_weights[o])
        if axes == 3:
            along(start[o, 0], step[o, 0], z_near[o], z_weights[o])
    if given.shape[1] > 0:
        values[:, : first[count]] = given
    gradients, x = (values, first, points), (x_base, x_sizes, x_taps)
    y = (y_near, _factors(y_near, y_weights, amplitude))
    scratch = (aligned(4 * count, width), np.full((count, 2), -1))
    if axes == 3:
        z = (z_near, z_weights)
        _draw_deep(out, lo, hi, gradients, x, y, z, scratch)
    else:
        deep = (np.zeros((0, 4), np.float32), x_taps, np.zeros((0, 2), np.int64))
        _draw_lines(out, 0, lo, hi, gradients, x, y, deep, scratch)


@compiled
def draw_fields(out, begin, end, lo, hi, start, step, points, amplitude, count, key, table):  # type: ignore[no-untyped-def]
    """Lines (or planes) lo to hi of the fields begin to end of out (B, Z, Y, X), hashed."""
    none = np.zeros((table.shape[1], 0), np.float32)
    for b in range(begin, end):
        n = count[b]
        draw_field(
            out[b], lo, hi, start[b, :n], step[b, :n], points[b, :n], amplitude[b, :n], key[b, :n],
            table, none,
        )  # fmt: skip
