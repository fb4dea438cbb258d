"""When a long measurement saves its state, so that an interrupted one resumes.

The state of a measure gives its arrays, and takes them up again (``arrays`` and ``resumed``). Where
they are kept is not its business: ``save`` of :class:`analyzer.measures.measure.Job` keeps them in
the audit folder, and ``saved`` returns them.
"""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["SECONDS", "Checkpoint"]

SECONDS = 5.0
"""Between two saves, at least."""

_PAUSE = 10  # times as long as saving took

State = TypeVar("State")


class Checkpoint(Generic[State]):
    """Saves a state when it is due: after some seconds, and ten times as long as saving takes."""

    def __init__(self, save: Callable[[State], None]):
        self._save = save
        self._due = time.monotonic() + SECONDS

    def __call__(self, state: State) -> None:
        """Save ``state``, if that is due."""
        began = time.monotonic()
        if began >= self._due:
            self._save(state)
            now = time.monotonic()
            self._due = now + max(SECONDS, _PAUSE * (now - began) if SECONDS > 0 else 0.0)
