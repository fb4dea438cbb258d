"""Hypothesis strategies for hostile bytes, texts, numbers, JSON and tables."""

import copy
import csv
import io
import json
from typing import Any

from hypothesis import strategies as st

__all__ = [
    "changed_json",
    "changed_table",
    "damaged",
    "hostile_json",
    "hostile_numbers",
    "hostile_texts",
]

hostile_numbers = st.sampled_from(
    [0, -1, 1, 2**31 - 1, 2**31, -(2**31) - 1, 2**40, 2**63 - 1, 2**63, -(2**63), 2**64, 10**30,
     0.5, -0.0, 1e-320, 1e300, 1e308, -1e308, 1.7976931348623157e308]
)  # fmt: skip
"""Whole and other numbers at the limits of what types hold."""

hostile_texts = st.one_of(
    st.sampled_from(
        ["", ".", "..", "../..", "/", "/etc/passwd", "/dev/zero", "\0", "a\0b", "\x1b[31mred",
         "\x1b]0;title\x07", "\u202egnp.exe", "line\nline", "\r", "\x9b31m", "\ud800", "a" * 5000,
         "=1+1", "<script>alert(1)</script>", "{{ 1 }}", "%s%n", "zoo:digits", "NaN", "inf",
         "ﬁ", "\u2028"]
    ),
    st.text(max_size=12),
)  # fmt: skip
"""Texts that steer terminals, leave folders, or are no text."""

hostile_json = st.one_of(
    hostile_numbers.map(json.dumps),
    hostile_texts.map(json.dumps),
    st.sampled_from(
        ["null", "true", "[]", "{}", "[1, null, {}]", '[[], "x"]', '{"a": [null]}', "NaN",
         "Infinity", "-Infinity", "1e400", "-1e999", "9" * 400, "9" * 5000, "[" * 100 + "]" * 100,
         "[" * 100_000 + "]" * 100_000, '{"a":' * 50_000 + "1" + "}" * 50_000, "[0, 0]",
         "[1e308, -1e308]", '["", ""]', "0.1", "00", "'x'", "", "//"]
    ),
)  # fmt: skip
"""Texts of JSON values, some of which JSON does not have."""


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes truncated, overwritten, taken out or repeated."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        if not found:
            break
        kind = draw(st.sampled_from(["cut", "set", "set", "drop", "repeat", "fill", "insert"]))
        at = draw(st.integers(0, len(found) - 1))
        length = draw(st.integers(1, 40))
        if kind == "cut":
            del found[at:]
        elif kind == "set":
            found[at] = draw(st.integers(0, 255))
        elif kind == "drop":
            del found[at : at + length]
        elif kind == "repeat":
            start = draw(st.integers(0, len(found) - 1))
            found[at:at] = found[start : start + length]
        elif kind == "fill":
            found[at : at + length] = bytes([draw(st.sampled_from([0, 0x7F, 0x80, 0xFF]))]) * length
        else:
            found[at:at] = draw(st.binary(min_size=1, max_size=12))
    return bytes(found)


@st.composite
def changed_json(draw: st.DrawFn, document: Any) -> bytes:
    """A JSON document with one to three values replaced, moved, renamed or dropped."""
    value = {"": copy.deepcopy(document)}
    texts: dict[str, str] = {}
    for _ in range(draw(st.integers(1, 3))):
        places = _places(value)
        holder, key = draw(st.sampled_from(draw(st.sampled_from(list(places.values())))))
        kind = draw(st.sampled_from(["replace"] * 6 + ["drop", "double", "swap", "rename"]))
        if kind == "drop" and key != "":
            del holder[key]
        elif kind == "double" and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif kind == "swap":
            other, place = draw(st.sampled_from(draw(st.sampled_from(list(places.values())))))
            holder[key] = copy.deepcopy(other[place])
        elif kind == "rename" and isinstance(holder, dict) and key != "":
            holder[draw(hostile_texts)] = holder.pop(key)
        else:
            mark = f"replaced value {len(texts)}"
            texts[mark] = draw(hostile_json)
            holder[key] = mark
    text = json.dumps(value[""])
    for mark, replacement in texts.items():
        text = text.replace(json.dumps(mark), replacement)
    return text.encode()


def _places(value: Any) -> dict[str, list[tuple[Any, Any]]]:
    """Where the values of a document are: each with what holds it and its key there.

    Grouped by path without the numbers in lists, so that a long list is not all that is drawn.
    """
    found: dict[str, list[tuple[Any, Any]]] = {}

    def visit(holder: Any, path: str) -> None:
        for key, item in holder.items() if isinstance(holder, dict) else enumerate(holder):
            here = f"{path}.{key}" if isinstance(holder, dict) else f"{path}[]"
            found.setdefault(here, []).append((holder, key))
            if isinstance(item, dict | list):
                visit(item, here)

    visit(value, "")
    return found


@st.composite
def changed_table(draw: st.DrawFn, content: bytes) -> bytes:
    """A CSV table with cells replaced, rows and columns dropped or repeated, or bytes damaged."""
    rows = list(csv.reader(io.StringIO(content.decode())))
    for _ in range(draw(st.integers(1, 3))):
        number = draw(st.integers(0, len(rows) - 1))
        row = rows[number]
        kind = draw(st.sampled_from(["cell"] * 5 + ["row", "double", "drop", "longer"]))
        if kind == "cell" and row:
            column = draw(st.integers(0, len(row) - 1))
            numbers = st.one_of(hostile_numbers.map(str), st.sampled_from(["nan", "inf", "1e999"]))
            row[column] = draw(st.one_of(hostile_texts, numbers))
        elif kind == "row" and len(rows) > 1:
            del rows[number]
        elif kind == "double":
            rows.insert(number, list(row))
        elif kind == "drop" and row:
            del row[draw(st.integers(0, len(row) - 1))]
        else:
            row.extend(["x"] * draw(st.sampled_from([1, 5, 2000])))
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    found = text.getvalue().encode(errors="surrogatepass")
    return found if draw(st.integers(0, 5)) else draw(damaged(found))
