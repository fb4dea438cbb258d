"""How numbers and corruption levels are written and drawn, the same on every page.

The colors are a ramp of plasma, ordered in lightness, so that it holds in every form of color
blindness and in gray; its palest fifth, hard to see on white, is left out.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LEVELS", "MARKERS", "level_legend", "level_name", "number"]

_MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 3) -> str:
    """A number for readers; a dash where there is none."""
    if value is None or np.isnan(value):
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", _MINUS)  # + 0.0: no −0.00


LEVELS: Mapping[float, str] = MappingProxyType(
    {
        0.0: "#fca636",
        0.2: "#ee7b51",
        0.4: "#d5536f",
        0.6: "#b12a90",
        0.8: "#7201a8",
        1.0: "#0d0887",
    }
)

MARKERS: Mapping[float, str] = MappingProxyType(
    {0.0: "o", 0.2: "s", 0.4: "^", 0.6: "D", 0.8: "v", 1.0: "P"}
)


def level_name(corruption: float) -> str:
    """0.4 is "40 %"."""
    return f"{100 * corruption:.0f} %"


def level_legend(axes: "Axes", *, larger: float = 1.0) -> None:
    """What colors and markers mean, to the right of ``axes``; markers so many times as large."""
    legend = axes.legend(
        title="labels\ncorrupted", title_fontsize=9, fontsize=9, frameon=False,
        loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=larger,
    )  # fmt: skip
    for handle in legend.legend_handles:
        handle.set_alpha(1)
