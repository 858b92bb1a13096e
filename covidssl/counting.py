"""How many there are of something, in words."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """`1 scan`, `2 scans`.

    Args:
        number: how many.
        one: what it is called alone.
        many: what several are called; the same with an s where it is left out.
    """
    return f"{number} {one if number == 1 else many or f'{one}s'}"
