"""The ablation's figures as coordinates, ready for the template to draw as inline SVG."""

from dataclasses import dataclass

import numpy as np

from analyzer.measures.svg import Frame, path_through

__all__ = ["CurveFigure", "Point", "ScatterFigure", "curve_figure", "scatter_figure"]

_STEPS = (0.02, 0.05, 0.1, 0.2)  # of the ticks of an axis within 0 and 1
_LEAST_SPAN = 0.1  # below it an axis would magnify noise


@dataclass(frozen=True, slots=True)
class Point:
    """A marker in pixels, with the text that explains it and whether it stands out."""

    x: float
    y: float
    title: str = ""
    marked: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on an axis: where (pixels) and what it says."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class CurveFigure:
    """The two curves of a class or of the network (Fig. 1A of the paper) as SVG paths."""

    frame: Frame
    descending: str
    ascending: str
    area: str  # between the two curves
    chance: float  # y of the chance line
    n0: Point  # on the descending curve
    n0_r: Point  # on the ascending curve
    channels: int  # M


@dataclass(frozen=True, slots=True)
class ScatterFigure:
    """One point a class, at (ζ_j, κ_j) (Fig. 2B of the paper)."""

    frame: Frame
    points: tuple[Point, ...]  # marked ones last, so that they are drawn on top
    mean: Point  # ζ, κ of the network
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]


def curve_figure(
    descending: np.ndarray,
    ascending: np.ndarray,
    *,
    chance: float,
    n0: float,
    n0_r: float,
    frame: Frame,
) -> CurveFigure:
    """Draw accuracies over the number of removed units.

    Args:
        descending: ndarray of shape (M + 1,), E(n) between 0 and 1.
        ascending: ndarray of shape (M + 1,), E_r(n).
        chance: accuracy of guessing.
        n0: turning point of E in units; need not be whole for an average.
        n0_r: turning point of E_r.
        frame: what to draw in.
    """
    channels = len(descending) - 1
    down, up = _vertices(descending, frame), _vertices(ascending, frame)
    return CurveFigure(
        frame=frame,
        descending=path_through(down),
        ascending=path_through(up),
        area=path_through(np.concatenate([down, up[::-1]])) + "z",
        chance=round(float(frame.y(chance)), 1),
        n0=_turning_point(descending, n0, frame),
        n0_r=_turning_point(ascending, n0_r, frame),
        channels=channels,
    )


def scatter_figure(
    zeta: np.ndarray,
    kappa: np.ndarray,
    *,
    mean: tuple[float, float],
    titles: list[str],
    marked: np.ndarray,
    frame: Frame,
) -> ScatterFigure:
    """Draw classes at (ζ_j, κ_j), on axes that just hold them.

    Args:
        zeta: ndarray of shape (K,).
        kappa: ndarray of shape (K,).
        mean: ζ and κ of the network.
        titles: what each point says when pointed at.
        marked: bool ndarray of shape (K,), True for flagged classes.
        frame: what to draw in.
    """
    x_values, y_values = _round_values(zeta), _round_values(kappa)

    def place(x: float, y: float, title: str, mark: bool = False) -> Point:
        return Point(
            round(float(frame.x((x - x_values[0]) / (x_values[-1] - x_values[0]))), 1),
            round(float(frame.y((y - y_values[0]) / (y_values[-1] - y_values[0]))), 1),
            title,
            mark,
        )

    points = [place(*point) for point in zip(zeta, kappa, titles, map(bool, marked), strict=True)]
    return ScatterFigure(
        frame=frame,
        points=tuple(sorted(points, key=lambda point: point.marked)),
        mean=place(*mean, "network"),
        x_ticks=tuple(Tick(place(v, y_values[0], "").x, f"{v:.3g}") for v in x_values),
        y_ticks=tuple(Tick(place(x_values[0], v, "").y, f"{v:.3g}") for v in y_values),
    )


def _vertices(values: np.ndarray, frame: Frame) -> np.ndarray:
    """Pixels of shape (points, 2), without points on the straight line of their neighbours."""
    x = frame.x(np.linspace(0.0, 1.0, len(values)))
    y = np.round(frame.y(np.asarray(values, float)), 1)
    bend = np.ones(len(values), bool)
    bend[1:-1] = np.abs(np.diff(y, 2)) > 1e-9
    return np.stack([np.round(x, 1), y], axis=1)[bend]


def _turning_point(curve: np.ndarray, n: float, frame: Frame) -> Point:
    channels = len(curve) - 1
    height = float(np.interp(n, np.arange(channels + 1), curve))
    return Point(round(float(frame.x(n / channels)), 1), round(float(frame.y(height)), 1))


def _round_values(values: np.ndarray) -> np.ndarray:
    """From four to eight evenly spaced round numbers that enclose ``values`` of [0, 1]."""
    low, high = float(np.min(values)), float(np.max(values))
    if high - low < _LEAST_SPAN:
        low = min(max(0.0, (low + high - _LEAST_SPAN) / 2), 1.0 - _LEAST_SPAN)
        high = low + _LEAST_SPAN
    step = next(step for step in _STEPS if (high - low) / step <= 6)
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    return np.arange(first, last + 1) * step
