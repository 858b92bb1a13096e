"""Compiled by numba: one lattice's gradients and weights, and its rows along a line of pixels.

Shapes are those of one field: O octaves, lines of W pixels padded to whole blocks. Loops that must
become vector instructions run over unsigned numbers: signed indices carry a wrap-around check.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit

BLOCK = 16
"""Pixels to which lines are padded, and the largest block that shares four lattice points."""

_U = np.uint64


def compiled(function: Any) -> Any:
    """The function as machine code, made once and kept, that lets go of the interpreter."""
    # Multiply-adds may be fused; nothing may be reordered, so that every pixel is computed alike.
    compile_ = partial(njit, nogil=True, fastmath={"contract"}, error_model="numpy")
    try:
        return compile_(cache=True)(function)
    except RuntimeError:  # there is no folder to keep the machine code in
        return compile_()(function)


@compiled
def aligned(rows, columns):  # type: ignore[no-untyped-def]
    """Zeros in rows that begin on a cache line: a load across two lines costs double."""
    block = np.zeros(rows * columns + BLOCK, np.float32)
    skip = (-(block.ctypes.data // 4)) % BLOCK
    return block[skip : skip + rows * columns].reshape(rows, columns)


@compiled
def _mix(bits):  # type: ignore[no-untyped-def]
    """The hash of `covidssl.perlin.lattice`."""
    bits = np.uint32(bits)
    bits = np.uint32((bits ^ (bits >> np.uint32(16))) * np.uint32(0x7FEB352D))
    bits = np.uint32((bits ^ (bits >> np.uint32(15))) * np.uint32(0x846CA68B))
    return np.uint32(bits ^ (bits >> np.uint32(16)))


@compiled
def hash_gradients(key, points, table, values, first):  # type: ignore[no-untyped-def]
    """Fill values[:, first:] with the gradients of one lattice, (z,) y, x in rows."""
    axes, mask = points.shape[0], np.uint32(table.shape[0] - 1)
    golden = np.uint32(0x9E3779B9)
    at = _U(first)
    for k in range(points[0] if axes == 3 else 1):
        plane = _mix(key ^ np.uint32(k)) if axes == 3 else key
        step = golden if axes == 3 else np.uint32(0)
        for i in range(points[axes - 2]):
            row = _mix(plane ^ (np.uint32(i) + step))
            shift = step + golden
            for j in range(_U(points[axes - 1])):
                choice = _mix(row ^ np.uint32(np.uint32(j) + shift)) & mask
                values[0, at + j] = table[choice, 0]
                values[1, at + j] = table[choice, 1]
                if axes == 3:
                    values[2, at + j] = table[choice, 2]
            at += _U(points[axes - 1])


@compiled
def along(start, step, near, weights):  # type: ignore[no-untyped-def]
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


@compiled
def spread_taps(near, weights, base, taps, first):  # type: ignore[no-untyped-def]
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


@compiled
def line(values, axis, first, x, o, into, row, pixels):  # type: ignore[no-untyped-def]
    """One lattice row's gradients along an axis, by the fade weights of every pixel of a line."""
    base, sizes, taps = x
    size, n = sizes[o], _U(axis)
    a = _U(8 * o)
    b, c, d = a + _U(1), a + _U(2), a + _U(3)
    for block in range(_U((pixels + size - 1) // size)):
        at = _U(first) + _U(base[o, block])
        p, q = values[n, at], values[n, at + _U(1)]
        r, s = values[n, at + _U(2)], values[n, at + _U(3)]
        begin = block * _U(size)
        # `size` must not be a constant: the compiler would unroll the loop into scalars.
        for j in range(_U(size)):
            i = begin + j
            into[row, i] = (p * taps[a, i] + q * taps[b, i]) + (r * taps[c, i] + s * taps[d, i])


@compiled
def two_lines(values, first, x, o, into, row, pixels):  # type: ignore[no-untyped-def]
    """Lines A and B of one lattice row: along x by fade weight times distance, along y by fade."""
    base, sizes, taps = x
    size, last = sizes[o], _U(values.shape[0] - 1)
    before, other = last - _U(1), row + _U(1)
    a = _U(8 * o)
    b, c, d = a + _U(1), a + _U(2), a + _U(3)
    e, f, g, h = a + _U(4), a + _U(5), a + _U(6), a + _U(7)
    for block in range(_U((pixels + size - 1) // size)):
        at = _U(first) + _U(base[o, block])
        p, q = values[last, at], values[last, at + _U(1)]
        r, s = values[last, at + _U(2)], values[last, at + _U(3)]
        t, u = values[before, at], values[before, at + _U(1)]
        v, w = values[before, at + _U(2)], values[before, at + _U(3)]
        begin = block * _U(size)
        for j in range(_U(size)):
            i = begin + j
            into[row, i] = (p * taps[e, i] + q * taps[f, i]) + (r * taps[g, i] + s * taps[h, i])
            into[other, i] = (t * taps[a, i] + u * taps[b, i]) + (v * taps[c, i] + w * taps[d, i])
