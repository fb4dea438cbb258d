"""Coordinates for the inline SVG of the report: a frame, and paths within it.

The report does not go through matplotlib: importing it would cost more than the rest of a small
audit, and these figures take their colors from the page, in light and in dark. What belongs in
files of its own is in :mod:`analyzer.audit.plots`.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Frame", "path_through"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A drawing of ``width`` × ``height`` and the plotting area inside its margins."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int

    def x(self, share: float | np.ndarray) -> float | np.ndarray:
        """Pixels from the left of ``share`` (0: left end of the axis, 1: right end)."""
        return self.left + share * (self.width - self.left - self.right)

    def y(self, share: float | np.ndarray) -> float | np.ndarray:
        """Pixels from the top of ``share`` (0: foot of the axis, 1: its head)."""
        return self.height - self.bottom - share * (self.height - self.top - self.bottom)


def path_through(vertices: np.ndarray) -> str:
    """The path through pixels of shape (points, 2), one after the other."""
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in vertices.tolist())
