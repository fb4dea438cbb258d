"""Text made safe to show: what could steer a terminal, or reorder a line, is spelled out.

Names of files, classes and tensors come from strangers. Records keep them exactly as they are.
"""

import re

__all__ = ["json_printable", "printable"]

# Control characters, line and paragraph separators, marks of writing direction, lone surrogates;
# and the two code points that are no characters, which XML and YAML refuse.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def printable(text: str, keep: str = "") -> str:
    """``text`` with unsafe characters as escapes: ESC reads ``\\x1b``.

    Args:
        text: of any origin.
        keep: characters that stay as they are, for texts of several lines.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else _escape(found[0]), text)


def json_printable(document: str) -> str:
    """A JSON document with unsafe characters as JSON's escapes, so that its values stay exact."""
    return _UNSAFE.sub(
        lambda found: found[0] if found[0] in "\n\r\t" else f"\\u{ord(found[0]):04x}", document
    )


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
