"""One colour and one marker a corruption level, the same in every figure.

The colours are a ramp of viridis, which is ordered in lightness and so holds in every form of
colour blindness and in gray; its palest quarter, hard to see on white, is left out.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["LEVELS", "MARKERS", "level_name"]

LEVELS: Mapping[float, str] = MappingProxyType(
    {
        0.0: "#5ec962",
        0.2: "#26ad81",
        0.4: "#21918c",
        0.6: "#2f6c8e",
        0.8: "#414487",
        1.0: "#440154",
    }
)

MARKERS: Mapping[float, str] = MappingProxyType(
    {0.0: "o", 0.2: "s", 0.4: "^", 0.6: "D", 0.8: "v", 1.0: "P"}
)


def level_name(corruption: float) -> str:
    """0.4 is "40 %"."""
    return f"{100 * corruption:.0f} %"
