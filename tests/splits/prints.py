"""Prints of scans for tests: all unlike each other, but for those that are planted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from covidssl.splits import Prints

BITS = 256


def prints_of(
    names: Sequence[str],
    near: Mapping[str, tuple[str, int]] | None = None,
    equal: Mapping[str, str] | None = None,
) -> Prints:
    """Prints without likeness, except that `near` copies a hash with so many bits turned, and that
    `equal` has the voxels of another."""
    generator = np.random.default_rng(7)
    row = {name: k for k, name in enumerate(names)}
    bits = generator.integers(0, 2, (len(names), BITS), dtype=np.uint8)
    voxels = [f"{k:064d}" for k in range(len(names))]
    for copy, (of, turned) in (near or {}).items():
        bits[row[copy]] = bits[row[of]]
        bits[row[copy], generator.choice(BITS, turned, replace=False)] ^= 1
    for copy, of in (equal or {}).items():
        bits[row[copy]], voxels[row[copy]] = bits[row[of]], voxels[row[of]]
    features = generator.normal(size=(len(names), 176)).astype(np.float32)
    return Prints(tuple(names), np.packbits(bits, axis=1), tuple(voxels), features)


def in_the_order_of_patients(names: Sequence[str], slices_each: int = 10) -> Prints:
    """Prints of slices that are alike within a patient, the patients following each other."""
    unlike = prints_of(names)
    patient = np.arange(len(names)) // slices_each
    of_patient = np.random.default_rng(8).normal(size=(int(patient.max()) + 1, 176))
    features = of_patient[patient] + 0.1 * unlike.thumbnails
    return Prints(unlike.names, unlike.hashes, unlike.voxels, features.astype(np.float32))
