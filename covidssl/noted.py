"""A remark in plain words that knows its own code, so that tables can count what people read."""

from __future__ import annotations


class Noted(str):
    """Text for people, with one word for tables; used wherever text is.

    Attributes:
        code: what was found, such as `few_slices`; docs/inference.md lists them.
    """

    code: str

    def __new__(cls, text: str, code: str) -> Noted:
        made = super().__new__(cls, text)
        made.code = code
        return made

    def __reduce__(self) -> tuple[type[Noted], tuple[str, str]]:
        # Without it the code would be lost on the way from a worker process.
        return type(self), (str(self), self.code)
