"""Making items ahead of who takes them, in a thread, and never more than so many."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

_SECONDS = 0.2


class _End:
    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Ahead(Generic[T]):
    """The items of an iterator, made in a thread of its own while others are worked on.

    A context: when it is left, the thread has ended, and the generator that it took from is closed.
    """

    def __init__(
        self, items: Iterator[T], most: int = 1, stops: Callable[[], bool] = lambda: False
    ) -> None:
        """Begin nothing yet.

        Args:
            items: a generator.
            most: so many wait at a time; one more may be in the making.
            stops: whether to give no more, asked again and again.
        """
        self._stops = stops
        self._items = items
        self._queue: Queue[T | _End] = Queue(most)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._make, name="ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopped.set()
        try:
            while True:
                self._queue.get_nowait()
        except Empty:
            pass
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while not self._stops():
            try:
                item = self._queue.get(timeout=_SECONDS)
            except Empty:
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item

    def _make(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._items:
                if not self._put(item):
                    break
        except BaseException as raised:  # it is raised again where the items are taken
            error = raised
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
        self._put(_End(error))

    def _put(self, item: T | _End) -> bool:
        while not self._stopped.is_set():
            try:
                self._queue.put(item, timeout=_SECONDS)
            except Full:
                continue
            return True
        return False
