"""The row form of Perlin noise, compiled by numba; `covidssl.perlin.rows` explains and calls it.

Shapes are those of one field: O octaves, lines of W pixels padded to whole blocks. Loops that must
become vector instructions run over unsigned numbers: signed indices carry a wrap-around check.
All compiled code is in this one file: numba keeps machine code by the file of the function that is
called, and would not see a change in another that it took in.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

BLOCK = 16
"""Pixels to which lines are padded, and the largest block that shares four lattice points."""

_U = np.uint64


def _compiled(function: Any) -> Any:
    """The function as machine code, made once and kept, that lets go of the interpreter."""
    # Multiply-adds may be fused; nothing may be reordered, so that every pixel is computed alike.
    compile_ = partial(njit, nogil=True, fastmath={"contract"}, error_model="numpy")
    try:
        return compile_(cache=True)(function)
    except RuntimeError:  # there is no folder to keep the machine code in
        return compile_()(function)


@_compiled
def _aligned(rows, columns):  # type: ignore[no-untyped-def]
    """Zeros in rows that begin on a cache line: a load across two lines costs double."""
    block = np.zeros(rows * columns + BLOCK, np.float32)
    skip = (-(block.ctypes.data // 4)) % BLOCK
    return block[skip : skip + rows * columns].reshape(rows, columns)


@_compiled
def _mix(bits):  # type: ignore[no-untyped-def]
    """The hash of `covidssl.perlin.lattice`."""
    bits = np.uint32(bits)
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D))
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(bits ^ (bits >> np.uint32(16)))


@_compiled
def _fetch(gradients, o, k, i):  # type: ignore[no-untyped-def]
    """Gradients of lattice row i (of lattice plane k) into the row's buffer, hashed or as given."""
    row, points, key, table, given, first = gradients
    axes = points.shape[1]
    number = points[o, axes - 1]
    if given.shape[1] > 0:
        begin = first[o] + (k * points[o, axes - 2] + i) * number
        row[:, :number] = given[:, begin : begin + number]
        return
    mask, golden = np.uint32(table.shape[0] - 1), np.uint32(0x9E3779B9)
    hashed, step = key[o], np.uint32(0)
    if axes == 3:
        hashed, step = _mix(hashed ^ np.uint32(k)), golden
    hashed = _mix(hashed ^ (np.uint32(i) + step))
    step += golden
    for j in range(_U(number)):
        choice = _mix(hashed ^ np.uint32(np.uint32(j) + step)) & mask
        row[0, j] = table[choice, 0]
        row[1, j] = table[choice, 1]
        if axes == 3:
            row[2, j] = table[choice, 2]


@_compiled
def _along(start, step, near, weights):  # type: ignore[no-untyped-def]
    """Lattice index (n,) of each place of an axis, and what its two lattice points weigh, (4, n).

    The rows of `weights`: fade weight and fade weight times distance of the lower point, then of
    the upper one.
    """
    for i in range(near.shape[0]):
        place = start + i * step
        index = np.floor(place)
        t = place - index
        fade = t * t * t * (t * (t * 6.0 - 15.0) + 10.0)
        near[i] = np.int64(index)
        weights[0, i] = 1.0 - fade
        weights[1, i] = (1.0 - fade) * t
        weights[2, i] = fade
        weights[3, i] = fade * (t - 1.0)


@_compiled
def _places(start, step, axis, pixels):  # type: ignore[no-untyped-def]
    """What `_along` says of an axis for every octave: (O, n) and (O, 4, n)."""
    near = np.zeros((start.shape[0], pixels), np.int64)
    weights = np.zeros((start.shape[0], 4, pixels), np.float32)
    for o in range(start.shape[0]):
        _along(start[o, axis], step[o, axis], near[o], weights[o])
    return near, weights


@_compiled
def _spread_taps(near, weights, base, taps, first):  # type: ignore[no-untyped-def]
    """Spread the weights of an axis over blocks of pixels that share four lattice points.

    The rows of `taps` from `first` take the fade weights of those points, the four after them the
    fade weights times distance. Gives the size of a block, and in `base` the first point of each.
    """
    size = BLOCK
    while size > 1:
        widest = 0
        for begin in range(0, near.shape[0], size):
            end = min(begin + size, near.shape[0]) - 1
            widest = max(widest, near[end] - near[begin])
        if widest <= 2:
            break
        size //= 2
    taps[first : first + 8] = 0.0
    for i in range(near.shape[0]):
        if i % size == 0:
            base[i // size] = near[i]
        tap = first + near[i] - base[i // size]
        taps[tap, i] = weights[0, i]
        taps[tap + 4, i] = weights[1, i]
        taps[tap + 1, i] = weights[2, i]
        taps[tap + 5, i] = weights[3, i]
    return size


@_compiled
def _line(values, axis, x, o, into, row, pixels):  # type: ignore[no-untyped-def]
    """One lattice row's gradients along an axis, by the fade weights of every pixel of a line."""
    base, sizes, taps = x
    size, n = sizes[o], _U(axis)
    a = _U(8 * o)
    b, c, d = a + _U(1), a + _U(2), a + _U(3)
    for block in range(_U((pixels + size - 1) // size)):
        at = _U(base[o, block])
        p, q = values[n, at], values[n, at + _U(1)]
        r, s = values[n, at + _U(2)], values[n, at + _U(3)]
        begin = block * _U(size)
        # `size` must not be a constant: the compiler would unroll the loop into scalars.
        for j in range(_U(size)):
            i = begin + j
            into[row, i] = (p * taps[a, i] + q * taps[b, i]) + (r * taps[c, i] + s * taps[d, i])


@_compiled
def _two_lines(values, x, o, into, row, pixels):  # type: ignore[no-untyped-def]
    """Lines A and B of one lattice row: along x by fade weight times distance, along y by fade."""
    base, sizes, taps = x
    size, last = sizes[o], _U(values.shape[0] - 1)
    before, other = last - _U(1), row + _U(1)
    a = _U(8 * o)
    b, c, d = a + _U(1), a + _U(2), a + _U(3)
    e, f, g, h = a + _U(4), a + _U(5), a + _U(6), a + _U(7)
    for block in range(_U((pixels + size - 1) // size)):
        at = _U(base[o, block])
        p, q = values[last, at], values[last, at + _U(1)]
        r, s = values[last, at + _U(2)], values[last, at + _U(3)]
        t, u = values[before, at], values[before, at + _U(1)]
        v, w = values[before, at + _U(2)], values[before, at + _U(3)]
        begin = block * _U(size)
        for j in range(_U(size)):
            i = begin + j
            into[row, i] = (p * taps[e, i] + q * taps[f, i]) + (r * taps[g, i] + s * taps[h, i])
            into[other, i] = (t * taps[a, i] + u * taps[b, i]) + (v * taps[c, i] + w * taps[d, i])


@_compiled
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


@_compiled
def _put_one(out, z, y, l, c):  # type: ignore[no-untyped-def]  # noqa: E741
    c0, c1, c2, c3 = c[y, 0], c[y, 1], c[y, 2], c[y, 3]
    for x in range(_U(out.shape[2])):
        one = c0 * l[0, x] + c1 * l[1, x] + c2 * l[2, x] + c3 * l[3, x]
        out[z, y, x] = one


@_compiled
def _put_two(out, z, y, l, c):  # type: ignore[no-untyped-def]  # noqa: E741
    c0, c1, c2, c3 = c[y, 0], c[y, 1], c[y, 2], c[y, 3]
    d0, d1, d2, d3 = c[y, 4], c[y, 5], c[y, 6], c[y, 7]
    for x in range(_U(out.shape[2])):
        one = c0 * l[0, x] + c1 * l[1, x] + c2 * l[2, x] + c3 * l[3, x]
        two = d0 * l[4, x] + d1 * l[5, x] + d2 * l[6, x] + d3 * l[7, x]
        out[z, y, x] = one + two


@_compiled
def _put_three(out, z, y, l, c):  # type: ignore[no-untyped-def]  # noqa: E741
    c0, c1, c2, c3 = c[y, 0], c[y, 1], c[y, 2], c[y, 3]
    d0, d1, d2, d3 = c[y, 4], c[y, 5], c[y, 6], c[y, 7]
    e0, e1, e2, e3 = c[y, 8], c[y, 9], c[y, 10], c[y, 11]
    for x in range(_U(out.shape[2])):
        one = c0 * l[0, x] + c1 * l[1, x] + c2 * l[2, x] + c3 * l[3, x]
        two = d0 * l[4, x] + d1 * l[5, x] + d2 * l[6, x] + d3 * l[7, x]
        three = e0 * l[8, x] + e1 * l[9, x] + e2 * l[10, x] + e3 * l[11, x]
        out[z, y, x] = (one + two) + three


@_compiled
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


@_compiled
def _add_one(out, z, y, lines, c, first):  # type: ignore[no-untyped-def]
    i = _U(first)
    j, k, m = i + _U(1), i + _U(2), i + _U(3)
    c0, c1, c2, c3 = c[y, i], c[y, j], c[y, k], c[y, m]
    for x in range(_U(out.shape[2])):
        one = c0 * lines[i, x] + c1 * lines[j, x] + c2 * lines[k, x] + c3 * lines[m, x]
        out[z, y, x] += one


@_compiled
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


@_compiled
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


@_compiled
def _plane_lines(gradients, o, k, x, planes, at, pixels):  # type: ignore[no-untyped-def]
    """Lines A, B and C of every lattice row of the k-th lattice plane, in rows from `at`."""
    for i in range(gradients[1][o, 1]):
        _fetch(gradients, o, k, i)
        row = _U(at + 3 * i)
        _two_lines(gradients[0], x, o, planes, row, pixels)
        _line(gradients[0], 0, x, o, planes, row + _U(2), pixels)


@_compiled
def _draw_lines(out, z, lo, hi, gradients, x, y, deep, scratch):  # type: ignore[no-untyped-def]
    """The lines lo to hi of one plane.

    Neighbouring lattice rows lie in two slots of `lines`: further down, one of the two is new.
    `y` is (near, factors); `deep` is (depth weights, planes, where each octave's two planes begin),
    the first of which is empty for a field without depth.
    """
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
                    _fetch(gradients, o, 0, k)
                    _two_lines(gradients[0], x, o, lines, at, pixels)
        _sum_row(out, z, row, lines, factors, count)


@_compiled
def _draw_deep(out, lo, hi, gradients, x, y, z, scratch):  # type: ignore[no-untyped-def]
    """The planes lo to hi of a field with depth; `z` is (near, weights)."""
    points = gradients[1]
    near, weights = z
    pixels, count = out.shape[2], near.shape[0]
    rows = 0
    begins = np.zeros((count, 2), np.int64)
    first = np.zeros((count, 2), np.int64)
    for o in range(count):
        first[o, 0], first[o, 1] = rows, rows + 3 * points[o, 1]
        rows += 6 * points[o, 1]
    planes = _aligned(rows, scratch[0].shape[1])
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


@_compiled
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
    x_base, x_sizes = np.zeros((count, width), np.int64), np.zeros(count, np.int64)
    x_taps = _aligned(8 * count, width)
    x_near, x_weights = np.zeros(pixels, np.int64), np.zeros((4, pixels), np.float32)
    y_near, y_weights = _places(start, step, axes - 2, out.shape[1])
    first = np.zeros(count, np.int64)
    for o in range(count):
        _along(start[o, axes - 1], step[o, axes - 1], x_near, x_weights)
        x_sizes[o] = _spread_taps(x_near, x_weights, x_base[o], x_taps, 8 * o)
        if o > 0:
            first[o] = first[o - 1] + points[o - 1].prod()
    # One lattice row at a time; blocks read four points, more than a lattice may have.
    row = np.zeros((axes, points[:, axes - 1].max() + 4), np.float32)
    gradients, x = (row, points, key, table, given, first), (x_base, x_sizes, x_taps)
    y = (y_near, _factors(y_near, y_weights, amplitude))
    scratch = (_aligned(4 * count, width), np.full((count, 2), -1))
    if axes == 3:
        z = _places(start, step, 0, out.shape[0])
        _draw_deep(out, lo, hi, gradients, x, y, z, scratch)
    else:
        deep = (np.zeros((0, 4), np.float32), x_taps, np.zeros((0, 2), np.int64))
        _draw_lines(out, 0, lo, hi, gradients, x, y, deep, scratch)


@_compiled
def draw_fields(out, begin, end, lo, hi, start, step, points, amplitude, count, key, table):  # type: ignore[no-untyped-def]
    """Lines (or planes) lo to hi of the fields begin to end of out (B, Z, Y, X), hashed."""
    none = np.zeros((table.shape[1], 0), np.float32)
    for b in range(begin, end):
        n = count[b]
        draw_field(
            out[b], lo, hi, start[b, :n], step[b, :n], points[b, :n], amplitude[b, :n], key[b, :n],
            table, none,
        )  # fmt: skip
