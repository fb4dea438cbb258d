"""The colours that the report and the plots share.

Orange-red and blue stay apart in every common form of colour blindness (Okabe and Ito, 2008);
both orders also differ in line style wherever they are drawn.
"""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["DARK", "LIGHT"]

LIGHT: Mapping[str, str] = MappingProxyType(
    {
        "page": "#f5f6f8",
        "card": "#ffffff",
        "ink": "#1b2330",
        "muted": "#5b6675",
        "line": "#dde1e7",
        "descending": "#c2470a",
        "ascending": "#0a67a8",
        "area": "#e9eef6",
        "bar": "#d5e4f2",
        "accent": "#0a67a8",
        "warn": "#8a4b00",
        "warn-back": "#fff4e0",
        "warn-line": "#e9a23b",
    }
)

DARK: Mapping[str, str] = MappingProxyType(
    {
        "page": "#11161d",
        "card": "#1a212b",
        "ink": "#e6eaf0",
        "muted": "#9aa6b5",
        "line": "#323c49",
        "descending": "#ff9257",
        "ascending": "#66b5f2",
        "area": "#253142",
        "bar": "#234260",
        "accent": "#66b5f2",
        "warn": "#ffc978",
        "warn-back": "#33270f",
        "warn-line": "#b97c1c",
    }
)
