"""Numbers as the page and its figures write them."""

import numpy as np

__all__ = ["number"]

_MINUS = "\N{MINUS SIGN}"


def number(value: float | None, digits: int = 3) -> str:
    """A number for readers; a dash where there is none."""
    if value is None or np.isnan(value):
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", _MINUS)  # + 0.0: no −0.00
