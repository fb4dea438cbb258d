"""How the pages that people read are made and colored: one HTML file each, without a network.

Computed first, then rendered: a page is plain data, and the templates escape every string.
"""

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from analyzer.control_characters import printable

__all__ = ["DARK", "LIGHT", "fixed", "moment", "render_page", "signed"]

# Orange-red and blue stay apart in every common form of color blindness (Okabe and Ito, 2008);
# both orders also differ in line style wherever they are drawn.
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
        "pass": "#2f8f4e",
        "fail": "#c23030",
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
        "pass": "#4fbf73",
        "fail": "#ef6b6b",
    }
)

_TEMPLATES = Path(__file__).parent / "templates"


def render_page(
    template: str, *, folders: Iterable[Path] = (), script: str = "", **values: Any
) -> str:
    """``values`` as one HTML document.

    Args:
        template: its name.
        folders: where templates lie besides the audit's own.
        script: name of the only script that the page may run; "" for none.
    """
    # Imported here: an audit pays for the template engine only once it has something to show.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([_TEMPLATES, *folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # each template is rendered once, and folding constants takes longer
    )
    environment.filters.update(fixed=fixed, signed=signed, percent=_percent)
    code = (_TEMPLATES / script).read_text("utf-8") if script else ""
    document = environment.get_template(template).render(
        light=LIGHT, dark=DARK, script=code, policy=_policy(code), **values
    )
    return printable(document, keep="\n\t")


def fixed(value: float, digits: int = 3) -> str:
    """A number with so many digits, and a minus sign where it needs one."""
    return f"{value:z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(value: float, digits: int = 3) -> str:
    """A difference: with its sign, unless it is nought."""
    text = f"{value:+z.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text[1:] if not text.strip("+0.") else text


def moment(created: str) -> str:
    """A time of ISO 8601 for people; "" where there is none."""
    if not created:
        return ""
    try:
        return f"{datetime.fromisoformat(created).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return created


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f}%"


def _policy(script: str) -> str:
    """The content security policy: no address outside the file, and no script but this one."""
    allowed = ""
    if script:
        digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed = f"script-src 'sha256-{digest}'; "
    return f"default-src 'none'; {allowed}style-src 'unsafe-inline'; img-src data:"
