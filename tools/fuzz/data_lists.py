"""Hostile texts that say what data are and how they are read: lists, manifests, options."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from hypothesis import strategies as st

from tools.fuzz.harness import Case, Content, Link, Pipe, Target
from tools.fuzz.mutations import (
    changed_json,
    changed_table,
    damaged,
    hostile_numbers,
    hostile_texts,
)
from tools.fuzz.small_data import (
    AUDIT,
    BUNDLED_DATA,
    audit_of,
    digits,
    encoded,
    integers,
    json_bytes,
    large_image,
)

__all__ = ["DATA_LISTS"]


def _loose_images(folder: Path) -> None:
    (folder / "images").mkdir()
    for number, image in enumerate(digits()[0]):
        (folder / "images" / f"{number}.png").write_bytes(encoded(image, "PNG"))
    (folder / "images" / "large.png").write_bytes(large_image())


def _rows() -> list[dict[str, object]]:
    return [
        {"path": f"images/{number}.png", "label": int(label), "split": "train"}
        for number, label in enumerate(digits()[1])
    ]


@st.composite
def _manifests(draw: st.DrawFn) -> Case:
    options = draw(st.sampled_from([(), ("--skip-bad",), ("--keys", "path,split")]))
    if draw(st.booleans()):
        lines = [json.dumps(row).encode() for row in _rows()]
        for _ in range(draw(st.integers(1, 2))):
            number = draw(st.integers(0, len(lines) - 1))
            row = _rows()[number] | {
                "path": draw(st.sampled_from(["images/0.png", "images/large.png"]))
            }
            lines[number] = draw(st.one_of(changed_json(row), json_bytes))
        return Case(audit_of("data.jsonl", *options), {"data.jsonl": b"\n".join(lines)})
    rows = "".join(f"{row['path']},{row['label']},train\n" for row in _rows())
    table = draw(changed_table(f"path,label,split\n{rows}".encode()))
    if draw(st.integers(0, 9)) == 0:
        table += b"images/large.png,1,train\n"
    elif draw(st.integers(0, 9)) == 0:
        table += b'"' + b"x" * draw(st.sampled_from([200_000, 2_000_000])) + b'",1,train\n'
    return Case(audit_of("data.csv", *options), {"data.csv": table})


_CLASS_LISTS: Mapping[str, Callable[[], st.SearchStrategy[bytes]]] = {
    "classes.txt": lambda: damaged(b"".join(b"%d\n" % number for number in range(10))),
    "classes.json": lambda: st.one_of(
        changed_json([str(number) for number in range(10)]),
        changed_json({"id2label": {str(number): f"c{number}" for number in range(10)}}),
        changed_json({str(number): [f"n{number}", f"c{number}"] for number in range(10)}),
        json_bytes,
    ),
    "classes.csv": lambda: st.one_of(
        changed_table(b"name,index\n" + b"".join(b"c%d,%d\n" % (n, n) for n in range(10))),
        st.just(b'"' + b"x" * 200_000 + b'",1\n'),
    ),
}


@st.composite
def _class_lists(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(sorted(_CLASS_LISTS)))
    content: Content = draw(_CLASS_LISTS[name]())
    content = draw(st.sampled_from([content] * 12 + [Pipe(), Link("/dev/zero"), Link("..")]))
    options = ("--classes", draw(st.sampled_from([name] * 12 + ["a\0b", "", "."])))
    return Case((*AUDIT, *options, "--limit-per-class", "1"), {name: content})


_OPTIONS: Mapping[str, st.SearchStrategy[object]] = {
    "--img-size": st.one_of(integers, st.sampled_from(["8x8", "1x100000", "65536", "99999999x1"])),
    "--crop-pct": st.one_of(hostile_numbers, st.sampled_from([0.0001, 0.5, 5e-324, "nan"])),
    "--mean": st.one_of(hostile_numbers, hostile_texts, st.sampled_from(["1,2,3", "nan", "1e999"])),
    "--std": st.one_of(hostile_numbers, st.sampled_from(["1,2,3", "inf", "5e-324", "1e-300"])),
    "--scale": st.one_of(hostile_numbers, st.sampled_from([5e-324, 1e-310, "inf"])),
    "--interpolation": st.sampled_from(["nearest", "lanczos", "hamming", "none", ""]),
    "--channels": st.sampled_from(["rgb", "bgr", "gray", "\x1b[1m"]),
    "--layout": st.sampled_from(["nchw", "nhwc", "auto", "x"]),
    "--preprocess": st.one_of(
        hostile_texts, st.sampled_from(["imagenet", "mnist", "/dev/zero", ".", "pipe"])
    ),
    "--budget": st.sampled_from(
        ["pixels=1", "bytes=1", "samples=3", "pixels=9999G", "x=1", "pixels", "pixels=-1", "=",
         "bytes=" + "9" * 5000]
    ),
    "--limit-per-class": integers,
    "--seed": integers,
    "--keys": hostile_texts,
    "--input": st.one_of(hostile_texts, st.sampled_from(["x=pipe", "x=/dev/zero", "x=a\0b"])),
    "--memory": st.one_of(integers, st.sampled_from(["1K", "9" * 400, "1.5G"])),
    "--out": st.sampled_from(
        ["", "out" + "a" * 300, "out\0", "out/" * 3, "out\x1b[1m", "out\udcff"]
    ),
}  # fmt: skip


@st.composite
def _preprocessing_options(draw: st.DrawFn) -> Case:
    names = draw(st.lists(st.sampled_from(sorted(_OPTIONS)), min_size=1, max_size=3, unique=True))
    options = [text for name in names for text in (name, str(draw(_OPTIONS[name])))]
    given = [option for option in options if "\ud800" not in option]
    base = ("audit", "zoo:digits-c0", "--interpolation-samples", "0", "--neighbor-samples", "0")
    limit = ("--limit-per-class", "1", "--out", "out")
    return Case((*base, *limit, *given), {"pipe": Pipe()})


@st.composite
def _populations(draw: st.DrawFn) -> Case:
    folder = BUNDLED_DATA.parent
    rows = "".join(
        f'c{c},{folder}/digits-c{c}.onnx,{folder}/train.npz,"images,labels_c{c}",0.{c},0.{c}\n'
        for c in (0, 20)
    )
    table = draw(changed_table(f"name,model,train_data,keys,gap,size\n{rows}".encode()))
    options = ("--limit-per-class", "1", "--interpolation-samples", "0", "--neighbor-samples", "0")
    return Case(("population", "table.csv", *options, "--out", "out"), {"table.csv": table})


DATA_LISTS = (
    Target("manifests", _manifests(), _loose_images),
    Target("class-lists", _class_lists()),
    Target("options", _preprocessing_options()),
    Target("population-manifests", _populations()),
)
