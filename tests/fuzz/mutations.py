"""Breaking bytes: flips, cuts, inserts, repeats, and numbers that programs stumble over."""

from __future__ import annotations

import struct
from collections.abc import Callable

from numpy.random import Generator

_HEADER = 512
_INTEGERS = (0, 1, 2, 3, 7, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1,
             2**31, 2**32 - 1, 2**62, 2**63)  # fmt: skip
_FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e30, -1e30, 3.4e38, float("nan"), float("inf"),
           float("-inf"))  # fmt: skip


def extreme_integer(rng: Generator, width: int) -> bytes:
    """A number at the edge of what fits into `width` bytes, in either byte order."""
    value = int(rng.choice(len(_INTEGERS)))
    number = _INTEGERS[value] if rng.random() < 0.7 else -_INTEGERS[value]
    order = "little" if rng.random() < 0.8 else "big"
    return (number % 2 ** (8 * width)).to_bytes(width, order)  # type: ignore[arg-type]


def extreme_float(rng: Generator, width: int) -> bytes:
    """A float that is rare: tiny, huge, infinite or no number."""
    return struct.pack("<f" if width == 4 else "<d", _FLOATS[int(rng.integers(len(_FLOATS)))])


def _place(content: bytes, rng: Generator) -> int:
    most = len(content) if rng.random() < 0.5 else min(len(content), _HEADER)
    return int(rng.integers(max(1, most)))


def _length(content: bytes, rng: Generator) -> int:
    return int(2 ** rng.uniform(0, max(1, len(content).bit_length() - 1)))


def _flip(content: bytes, rng: Generator) -> bytes:
    broken = bytearray(content)
    for _ in range(int(2 ** rng.uniform(0, 5))):
        broken[_place(content, rng)] ^= 1 << int(rng.integers(8))
    return bytes(broken)


def _replace(content: bytes, rng: Generator) -> bytes:
    broken = bytearray(content)
    for _ in range(int(2 ** rng.uniform(0, 4))):
        broken[_place(content, rng)] = int(rng.integers(256))
    return bytes(broken)


def _cut_end(content: bytes, rng: Generator) -> bytes:
    return content[: int(rng.integers(len(content)))]


def _cut_block(content: bytes, rng: Generator) -> bytes:
    at = _place(content, rng)
    return content[:at] + content[at + _length(content, rng) :]


def _insert(content: bytes, rng: Generator) -> bytes:
    at = _place(content, rng)
    return content[:at] + rng.bytes(min(4096, _length(content, rng))) + content[at:]


def _repeat(content: bytes, rng: Generator) -> bytes:
    at, length = _place(content, rng), min(4096, _length(content, rng))
    block = content[at : at + length]
    return content[:at] + block * int(rng.integers(2, 9)) + content[at:]


def _blank(content: bytes, rng: Generator) -> bytes:
    at, length = _place(content, rng), _length(content, rng)
    fill = (b"\0", b"\xff", b" ", b"9")[int(rng.integers(4))]
    return content[:at] + fill * len(content[at : at + length]) + content[at + length :]


def _number(content: bytes, rng: Generator) -> bytes:
    width = (1, 2, 4, 8)[int(rng.integers(4))]
    at = _place(content, rng) // width * width
    value = extreme_float(rng, width) if width > 2 and rng.random() < 0.3 else None
    value = extreme_integer(rng, width) if value is None else value
    return content[:at] + value + content[at + width :]


def _swap(content: bytes, rng: Generator) -> bytes:
    first, second = sorted((_place(content, rng), _place(content, rng)))
    return content[:first] + content[second:] + content[first:second]


_MUTATIONS: tuple[Callable[[bytes, Generator], bytes], ...] = (
    _flip, _replace, _cut_end, _cut_block, _insert, _repeat, _blank, _number, _number, _swap
)  # fmt: skip


def break_bytes(content: bytes, rng: Generator) -> bytes:
    """One to three mutations of a file's bytes."""
    for _ in range(int(rng.integers(1, 4))):
        if content:
            content = _MUTATIONS[int(rng.integers(len(_MUTATIONS)))](content, rng)
    return content
