"""Finding the lungs, or taking masks that are there already.

Without learned weights by default: in 3D for whole scans (`stack`), in 2D for single pictures
(`planes`); by lungmask's network where that is in place (`learnt`). What was found says what looks
wrong with it (`flags`).
"""

from covidssl.lungs.finding import REVISION, Method, lung_mask, segment_lungs
from covidssl.lungs.flags import Flag
from covidssl.lungs.given import given_lungs, mask_names
from covidssl.lungs.result import LEFT, RIGHT, Lungs

__all__ = [
    "LEFT",
    "REVISION",
    "RIGHT",
    "Flag",
    "Lungs",
    "Method",
    "given_lungs",
    "lung_mask",
    "mask_names",
    "segment_lungs",
]
