"""Random numbers for every pixel, made on the pictures' own device from one seed a picture."""

from __future__ import annotations

import torch

_MASK, _GOLDEN = 0xFFFFFFFF, 0x9E3779B9


def seeds_of(draw: torch.Tensor) -> torch.Tensor:
    """Seeds (int64) for `scatter_bits` of even random numbers in [0, 1), float64."""
    return (draw * 2**53).long()


def scatter_bits(seeds: torch.Tensor, pixels: int, device: torch.device) -> torch.Tensor:
    """32 random bits for each of so many pixels: (B,) -> (B, pixels) int64.

    They are hashed from the seed and the pixel's place, so that they are the same on every device,
    and none has to be drawn on the CPU and carried over.
    """
    seeds = seeds.to(device)[:, None]
    place = torch.arange(pixels, device=device)[None]
    return _mix(_mix((seeds & _MASK) ^ (place * _GOLDEN & _MASK)) ^ (seeds >> 32))


def scatter_unit(seeds: torch.Tensor, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Even random numbers in [0, 1) for pictures of a shape: (B,) -> (B, 1, *shape) float32."""
    pixels = torch.Size(shape).numel()
    bits = scatter_bits(seeds, pixels, device) >> 8
    return (bits.to(torch.float32) / 2.0**24).view(len(seeds), 1, *shape)


def _mix(bits: torch.Tensor) -> torch.Tensor:
    """Scramble 32 bits: the integer hash "lowbias32" (C. Wellons, hash-prospector, 2018)."""
    bits = (bits ^ (bits >> 16)) * 0x7FEB352D & _MASK
    bits = (bits ^ (bits >> 15)) * 0x846CA68B & _MASK
    return bits ^ (bits >> 16)
