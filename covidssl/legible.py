"""Text from outside, such as a file's name, with what would act on its reader written out.

A terminal obeys escape sequences; an editor and a browser turn text round at marks of direction; a
line feed begins a line of its own in a log. None of them belongs into a name.
"""

from __future__ import annotations

import re
from typing import Any

_LINE_FEED_AND_TAB = "\n\t"
# C0 and C1 controls, overrides of direction, separators of lines, and marks that are never seen;
# joiners and marks of Arabic and Hebrew are letters of honest names.
_ACTING = re.compile("[\x00-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def legible(text: str, lines: bool = False) -> str:
    r"""The text with such signs as `\x1b` or `\u202e`; all others stay.

    Args:
        text: of any kind.
        lines: whether line feeds and tabs stay too.
    """

    def written(found: re.Match[str]) -> str:
        sign = found.group()
        if lines and sign in _LINE_FEED_AND_TAB:
            return sign
        return sign.encode("unicode_escape").decode("ascii")

    return _ACTING.sub(written, text)


def all_legible(content: Any) -> bool:
    """Whether no text in a JSON value, keys included, holds such a sign; lines may end."""
    if isinstance(content, str):
        return legible(content, lines=True) == content
    if isinstance(content, dict):
        return all(all_legible(key) and all_legible(one) for key, one in content.items())
    return not isinstance(content, list) or all(all_legible(one) for one in content)
