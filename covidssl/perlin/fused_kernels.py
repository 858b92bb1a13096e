"""The row form of Perlin noise as Triton kernels; `covidssl.perlin.fused` explains and calls them.

Fields of two axes have a third one, z, of one pixel. Places are int64 numbers of 2**-32 of a cell:
float32 has too few digits for them, float64 is slow on most GPUs, and here the lattice point and
the fraction are the two halves of a number.
"""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl

PLACE_BITS = 32
"""Binary digits of a place behind the point."""

COLUMNS = 15
"""Numbers that describe an octave, int64, in this order: start z, y, x; step z, y, x (both in the
units of a place); lattice points along z, y, x; where its gradients, the weights of its lines and
those of its planes begin in their buffers; its key; the bits of its float32 amplitude; the octaves
of the field."""

_COLUMNS = tl.constexpr(COLUMNS)
_WHOLE = tl.constexpr(PLACE_BITS)
_UNIT = tl.constexpr(2.0**-PLACE_BITS)
_GOLDEN = tl.constexpr(0x9E3779B9)
_GOLDEN_TWICE = tl.constexpr(0x9E3779B9 * 2 & 0xFFFFFFFF)


def _compiled(function: Any) -> Any:
    # One program for all sizes and batches, so that a field has the same bits in all of them.
    return triton.jit(do_not_specialize=["most", "depth", "height", "width", "hashing"])(function)


@_compiled
def _mix(bits):  # type: ignore[no-untyped-def]
    """The hash of `covidssl.perlin.lattice`, of uint32."""
    bits = (bits ^ (bits >> 16)) * tl.full((), 0x7FEB352D, tl.uint32)
    bits = (bits ^ (bits >> 15)) * tl.full((), 0x846CA68B, tl.uint32)
    return bits ^ (bits >> 16)


@_compiled
def _weigh(place):  # type: ignore[no-untyped-def]
    """Lower lattice point of a place, and fade weight and weight times distance of both points."""
    near = (place >> _WHOLE).to(tl.int32)
    t = place.to(tl.uint32).to(tl.float32) * _UNIT
    # The fade curve about the middle of the cell: fewer steps, and smaller numbers to round.
    u = t - 0.5
    square = u * u
    rise = u * (square * (square * 6.0 - 5.0) + 1.875)
    fade, rest = 0.5 + rise, 0.5 - rise
    return near, rest, rest * t, fade, fade * (t - 1.0)


@_compiled
def _reach(start, step, tile, number, lines: tl.constexpr):  # type: ignore[no-untyped-def]
    """Lower lattice points of the first and of the last line of a tile of lines (or planes)."""
    first = start + (tile * lines) * step
    last = start + (tl.minimum(tile * lines + lines, number) - 1) * step
    return (first >> _WHOLE).to(tl.int32), (last >> _WHOLE).to(tl.int32)


@_compiled
def _low_half(pair):  # type: ignore[no-untyped-def]
    """The first of two float32 that were loaded as one int64."""
    return pair.to(tl.int32).to(tl.float32, bitcast=True)


@_compiled
def _high_half(pair):  # type: ignore[no-untyped-def]
    return (pair >> 32).to(tl.int32).to(tl.float32, bitcast=True)


@_compiled
def _hash_gradients(octave, table, gradients, axes: tl.constexpr, block: tl.constexpr):  # type: ignore[no-untyped-def]
    """The gradients of one lattice, shared out among the programs of the grid's last axis."""
    across_y, across_x = tl.load(octave + 7).to(tl.int32), tl.load(octave + 8).to(tl.int32)
    number = tl.load(octave + 6).to(tl.int32) * across_y * across_x
    into = gradients + tl.load(octave + 9) * (axes - 1)
    key = tl.load(octave + 12).to(tl.uint32)
    for begin in range(tl.program_id(2) * block, number, tl.num_programs(2) * block):
        point = begin + tl.arange(0, block)
        x = (point % across_x).to(tl.uint32)
        line = point // across_x
        y = (line % across_y).to(tl.uint32)
        if axes == 3:
            z = (line // across_y).to(tl.uint32)
            hashed = _mix(_mix(key ^ z) ^ (y + tl.full((), _GOLDEN, tl.uint32)))
            hashed = _mix(hashed ^ (x + tl.full((), _GOLDEN_TWICE, tl.uint32)))
            choice = (hashed & 31).to(tl.int32) * 2
            inside = point < number
            tl.store(into + point * 2, tl.load(table + choice), mask=inside)
            tl.store(into + point * 2 + 1, tl.load(table + choice + 1), mask=inside)
        else:
            hashed = _mix(_mix(key ^ y) ^ (x + tl.full((), _GOLDEN, tl.uint32)))
            choice = (hashed & 15).to(tl.int32)
            tl.store(into + point, tl.load(table + choice), mask=point < number)


@_compiled
def _weigh_lines(start, step, number, into, amplitude, lines: tl.constexpr):  # type: ignore[no-untyped-def]
    """What each lattice row weighs for the lines of each tile of lines, `amplitude` included.

    The k-th lattice row has for tile number n the entry k + 2 n: fade weights of the lines, then
    these times distance, 0 where the row is not next to a line. The same for planes.
    """
    one = tl.arange(0, lines)
    for tile in range(tl.program_id(2), tl.cdiv(number, lines), tl.num_programs(2)):
        line = tl.minimum(tile * lines + one, number - 1)
        near, w0, d0, w1, d1 = _weigh(start + line * step)
        low, high = _reach(start, step, tile, number, lines)
        entry = into + (low + 2 * tile).to(tl.int64) * (2 * lines)
        for k in range(low, high + 2):
            weight = tl.where(near == k, w0, tl.where(near + 1 == k, w1, 0.0)) * amplitude
            moment = tl.where(near == k, d0, tl.where(near + 1 == k, d1, 0.0)) * amplitude
            tl.store(entry + one, weight)
            tl.store(entry + lines + one, moment)
            entry += 2 * lines


@_compiled
def prepare(  # type: ignore[no-untyped-def]
    laid, table, gradients, weights, depth, height, hashing, axes: tl.constexpr,
    planes: tl.constexpr, rows: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    """Gradients and weights of every octave of every field; the grid is (B, O, any number).

    Args:
        laid: (B, O, COLUMNS) int64.
        table: (n, axes - 1) int64, gradients to choose from, each two float32, (y, x) or (z, y)
            and (x, 0).
        gradients: (points of all octaves, axes - 1) int64, to be filled in the same way.
        weights: float32, to be filled: for each octave (entries, 2, rows), and with three axes
            (entries, 2, planes) after them.
        depth: planes of a field.
        height: lines of a plane.
        hashing: 0 where the gradients are there already.
        axes: 2 or 3.
        planes: planes of a tile.
        rows: lines of a tile.
        block: points that are hashed at a time.
    """
    number = tl.program_id(0) * tl.num_programs(1) + tl.program_id(1)
    octave = laid + number.to(tl.int64) * _COLUMNS
    if tl.program_id(1) < tl.load(octave + 14):
        if hashing != 0:
            _hash_gradients(octave, table, gradients, axes, block)
        amplitude = tl.load(octave + 13).to(tl.int32).to(tl.float32, bitcast=True)
        into = weights + tl.load(octave + 10)
        _weigh_lines(tl.load(octave + 1), tl.load(octave + 4), height, into, amplitude, rows)
        if axes == 3:
            into = weights + tl.load(octave + 11)
            _weigh_lines(tl.load(octave), tl.load(octave + 3), depth, into, 1.0, planes)


@_compiled
def _columns(octave, x, width):  # type: ignore[no-untyped-def]
    """Left lattice point and weights, as in `_weigh`, of pixels x of a line."""
    return _weigh(tl.load(octave + 2) + tl.minimum(x, width - 1) * tl.load(octave + 5))


@_compiled
def draw_flat(  # type: ignore[no-untyped-def]
    out, laid, gradients, weights, most, height, width, rows: tl.constexpr, columns: tl.constexpr
):  # fmt: skip
    """One tile of one field of two axes; the grid is (B * tiles of lines * tiles of columns).

    Args:
        out: (B, height, width) float32, to be filled.
        laid: (B, O, COLUMNS) int64.
        gradients: as `prepare` left them.
        weights: as `prepare` left them.
        most: O, octaves that a field may have.
        height: lines of a field.
        width: pixels of a line.
        rows: lines of a tile.
        columns: pixels of a line of a tile.
    """
    tiles_x, tiles_y = tl.cdiv(width, columns), tl.cdiv(height, rows)
    rest = tl.program_id(0) // tiles_x
    tile, field = rest % tiles_y, (rest // tiles_y).to(tl.int64)
    begin = tl.program_id(0) % tiles_x * columns
    column = tl.arange(0, columns)
    row = tl.arange(0, rows)
    octave = laid + field * most * _COLUMNS
    total = tl.zeros((rows, columns), tl.float32)
    for _ in range(tl.load(octave + 14).to(tl.int32)):
        low, high = _reach(tl.load(octave + 1), tl.load(octave + 4), tile, height, rows)
        left, w0, d0, w1, d1 = _columns(octave, begin + column, width)
        across = tl.load(octave + 8).to(tl.int32)
        line = gradients + tl.load(octave + 9) + low * across
        entry = weights + tl.multiple_of(tl.load(octave + 10), 8) + (low + 2 * tile) * (2 * rows)
        for _k in range(low, high + 2):
            # What the lattice row adds to a column: times its fade weight in y, and its moment.
            one, two = tl.load(line + left), tl.load(line + left + 1)
            a = d0 * _high_half(one) + d1 * _high_half(two)
            b = w0 * _low_half(one) + w1 * _low_half(two)
            total += tl.load(entry + row)[:, None] * a[None, :]
            total += tl.load(entry + rows + row)[:, None] * b[None, :]
            line += across
            entry += 2 * rows
        octave += _COLUMNS
    corner = out + (field * height + tile * rows) * width + begin
    lines = corner + (row * width)[:, None] + column[None, :]
    if (tile * rows + rows <= height) & (begin + columns <= width):
        tl.store(lines, total)
    else:
        inside = (tile * rows + row < height)[:, None] & (begin + column < width)[None, :]
        tl.store(lines, total, mask=inside)


@_compiled
def _folded(line, between, left, w0, d0, w1, d1, entry, low, high, planes: tl.constexpr):  # type: ignore[no-untyped-def]
    """What one lattice row adds to a column in each plane of pixels, (planes, columns).

    Folded from the lattice planes low to high + 1; times its fade weight in y, and its moment in y.
    """
    plane = tl.arange(0, planes)
    a = tl.zeros((planes, left.shape[0]), tl.float32)
    b = tl.zeros((planes, left.shape[0]), tl.float32)
    for _ in range(low, high + 2):
        at = line + 2 * left
        one, two = tl.load(at), tl.load(at + 2)
        x = d0 * _low_half(tl.load(at + 1)) + d1 * _low_half(tl.load(at + 3))
        y = w0 * _high_half(one) + w1 * _high_half(two)
        z = w0 * _low_half(one) + w1 * _low_half(two)
        weight = tl.load(entry + plane)[:, None]
        a += weight * x[None, :]
        a += tl.load(entry + planes + plane)[:, None] * z[None, :]
        b += weight * y[None, :]
        line += between
        entry += 2 * planes
    return a, b


@_compiled
def draw_deep(  # type: ignore[no-untyped-def]
    out, laid, gradients, weights, most, depth, height, width, planes: tl.constexpr,
    rows: tl.constexpr, columns: tl.constexpr,
):  # fmt: skip
    """One tile of one field of three axes; the grid is (B * tiles of planes * lines * columns).

    Args:
        out: (B, depth, height, width) float32, to be filled.
        laid: (B, O, COLUMNS) int64.
        gradients: as `prepare` left them.
        weights: as `prepare` left them.
        most: O, octaves that a field may have.
        depth: planes of a field.
        height: lines of a plane.
        width: pixels of a line.
        planes: planes of a tile.
        rows: lines of a plane of a tile.
        columns: pixels of a line of a tile.
    """
    tiles_x, tiles_y = tl.cdiv(width, columns), tl.cdiv(height, rows)
    rest = tl.program_id(0) // tiles_x
    tile, rest = rest % tiles_y, rest // tiles_y
    tiles_z = tl.cdiv(depth, planes)
    slab, field = rest % tiles_z, (rest // tiles_z).to(tl.int64)
    begin = tl.program_id(0) % tiles_x * columns
    column = tl.arange(0, columns)
    row, plane = tl.arange(0, rows), tl.arange(0, planes)
    octave = laid + field * most * _COLUMNS
    total = tl.zeros((planes, rows, columns), tl.float32)
    for _ in range(tl.load(octave + 14).to(tl.int32)):
        low, high = _reach(tl.load(octave + 1), tl.load(octave + 4), tile, height, rows)
        below, above = _reach(tl.load(octave), tl.load(octave + 3), slab, depth, planes)
        left, w0, d0, w1, d1 = _columns(octave, begin + column, width)
        across = 2 * tl.load(octave + 8).to(tl.int32)
        between = tl.load(octave + 7) * across
        line = gradients + 2 * tl.load(octave + 9) + below * between + low * across
        entry = weights + tl.multiple_of(tl.load(octave + 10), 8) + (low + 2 * tile) * (2 * rows)
        deep = weights + tl.multiple_of(tl.load(octave + 11), 8) + (below + 2 * slab) * (2 * planes)
        for _k in range(low, high + 2):
            a, b = _folded(line, between, left, w0, d0, w1, d1, deep, below, above, planes)
            total += tl.load(entry + row)[None, :, None] * a[:, None, :]
            total += tl.load(entry + rows + row)[None, :, None] * b[:, None, :]
            line += across
            entry += 2 * rows
        octave += _COLUMNS
    corner = out + ((field * depth + slab * planes) * height + tile * rows) * width + begin
    line = (plane.to(tl.int64) * height)[:, None] + row[None, :]
    inside = (slab * planes + plane < depth)[:, None] & (tile * rows + row < height)[None, :]
    inside = inside[:, :, None] & (begin + column < width)[None, None, :]
    tl.store(corner + (line * width)[:, :, None] + column[None, None, :], total, mask=inside)
