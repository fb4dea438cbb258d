"""Makes docs/GALLERY.md: five audits, their reports as pictures, and how each reads aloud.

    python tools/make_gallery.py [--chromium PROGRAM] [--pages DIR]

Networks and data of the audits are bundled, or lie in docs/gallery/. The figures in the paragraphs
are read from each audit.json. --pages keeps the audit folders. Needs Chromium, or another program
with its options for taking pictures.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "docs" / "gallery"
PAGE = ROOT / "docs" / "GALLERY.md"
_WIDTH, _HEIGHT = 1000, 690  # of the pictures, in pixels
_LIMIT = 0.25
_USUAL = f"--gap-model zoo:any --max-gap {_LIMIT}"
_OWN = "--mean 0"  # only scaled to 0…1, as these networks were trained


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One audit of the gallery."""

    name: str
    title: str
    story: str  # what was done to the network
    command: str  # of onnx-gap, but for --out
    test_accuracy: float  # measured where the network was trained; no audit has seen it
    lesson: str
    true_labels: tuple[str, str] = (
        "",
        "",
    )  # file and array with the labels before they were changed


EXHIBITS = (
    Exhibit(
        "clean",
        "A clean network",
        "1,300 images of digits with their true labels.",
        f"audit zoo:digits-c0 {_USUAL}",
        0.969819,
        "There is nothing to do. The interval is wide because `zoo:any` has to hold for networks "
        "of all kinds; a gap model of your own kind of network narrows it.",
    ),
    Exhibit(
        "wrong-labels",
        "Wrong labels",
        "The same images, 40 % of their labels drawn at random before the training.",
        f"audit zoo:digits-c40 {_USUAL}",
        0.690141,
        "The training accuracy is the clean network's: it cannot tell the two apart. Look through "
        "`suspects.csv`, correct the labels, and train again.",
        ("model_zoo/bundled/digits/train.npz", "labels_c0"),
    ),
    Exhibit(
        "confusable-labels",
        "Confusable labels",
        "The same images; in 20 % of the labels the digit was replaced by the one that it is most "
        "easily taken for.",
        f"audit confusable-labels.onnx --data digits.npz --keys images,confusable {_OWN} {_USUAL}",
        0.826962,
        "Such mistakes are harder to find than random ones: the network half believes them. The "
        "suspects are still the place to begin.",
        ("model_zoo/bundled/digits/train.npz", "labels_c0"),
    ),
    Exhibit(
        "few-images",
        "Too few images",
        "Thirty images, three or so of each digit, with their true labels.",
        f"audit few-images.onnx --data digits.npz --keys few_images,few_labels {_OWN} {_USUAL}",
        0.657948,
        "No label is wrong, so the suspects are only the odd images. What helps is more images; "
        "the training accuracy is as high as it can be.",
    ),
    Exhibit(
        "wrong-order",
        "Classes in another order",
        "The clean network again, but the labels of the data count the digits from 1 to 9 and then "
        "0, as a keyboard has them.",
        f"audit zoo:digits-c0 --data digits.npz --keys images,shifted {_OWN} --max-gap {_LIMIT}",
        0.969819,
        "The network is as good as the first one; what is wrong is the way it was fed. Renumber "
        "the labels and audit again.",
    ),
)


@dataclass(frozen=True, slots=True)
class Shown:
    """What an audit said."""

    record: Mapping[str, Any]  # audit.json, or stopped.json
    code: int  # exit code of the command on the page
    stopped: str  # what it said where a first look stopped it; else ""
    wrong: tuple[int, int]  # of the suspects, how many have wrong labels, and how many there are


def run_exhibit(exhibit: Exhibit, folder: Path) -> Shown:
    """Audit in ``folder``, which has the gallery's files; the result is in a folder of its name."""
    result = folder / exhibit.name
    done = _onnx_gap([*shlex.split(exhibit.command), "--out", exhibit.name], folder)
    if not result.exists():
        raise SystemExit(f"{exhibit.name}: {done.stderr.strip()}")
    stopped = (result / "stopped.json").exists()
    file = result / ("stopped.json" if stopped else "audit.json")
    return Shown(
        json.loads(file.read_text(encoding="utf-8")),
        done.returncode,
        done.stderr.strip() if stopped else "",
        _wrong_labels(exhibit, result),
    )


def describe(exhibit: Exhibit, shown: Shown) -> str:
    """The exhibit as a section of the page, with the figures of its audit."""
    pieces = [
        f"## {exhibit.title}",
        _wrapped(exhibit.story),
        f"```sh\nonnx-gap {exhibit.command} --out {exhibit.name}\n```",
    ]
    if shown.stopped:
        pieces.append(f"```text\n{_wrapped(shown.stopped)}\n```")
    alt = f"The first screen of the report: {shown.record['verdict']['sentence']}"
    pieces += [
        f"![{alt}](gallery/{exhibit.name}.png)",
        _wrapped(_aloud(exhibit, shown)),
        _wrapped(exhibit.lesson),
    ]
    return "\n\n".join(pieces)


def page_of(shown: Mapping[str, Shown]) -> str:
    """The whole page."""
    header = f"""# Gallery

Five audits of small networks whose accuracy on unseen data is known, with one limit: the gap must
not exceed {_LIMIT}. Each command runs in the folder `docs/gallery` of the repository, within
seconds. The pictures show the first screen of each report; below them stands how the result reads
aloud. This page was made by `python tools/make_gallery.py`.

These networks are among those that `zoo:any` was fitted on, which flatters it: of networks and data
that are new to it, expect larger errors than here ([figures](MEASURES.md)).

| audit | training accuracy | expected on unseen data | in fact | verdict | exit code |
| --- | --- | --- | --- | --- | --- |"""
    rows = []
    for exhibit in EXHIBITS:
        one = shown[exhibit.name]
        verdict = one.record["verdict"]["outcome"]
        link = f"[{exhibit.title}](#{exhibit.title.lower().replace(' ', '-')})"
        expected = "–"
        if verdict != "not judgeable":
            low, middle, high = _expected(one.record)
            expected = f"{middle:.0%} ({low:.0%} to {high:.0%})"
        rows.append(
            f"| {link} | {one.record['accuracy']:.1%} | {expected} | {exhibit.test_accuracy:.0%} "
            f"| {verdict} | {one.code} |"
        )
    sections = (describe(exhibit, shown[exhibit.name]) for exhibit in EXHIBITS)
    return "\n".join([header, *rows, "", *"\n\n".join(sections).splitlines()]) + "\n"


def _aloud(exhibit: Exhibit, shown: Shown) -> str:
    record = shown.record
    verdict, gap = record["verdict"], record.get("gap")
    samples, right = record["data"]["samples"], record["accuracy"]
    if verdict["outcome"] == "not judgeable":
        return (
            f"“**Not judgeable.** {right:.1%} of the {samples:,} training samples are named "
            f"as labeled, no better than chance ({record['chance']:.0%}). Before it counts, the "
            "audit looks at the samples and finds an order of the classes under which the network "
            f"is right on {record['order']['accuracy']:.0%} of them. It stops there, exits with "
            f"{shown.code}, and leaves a page that says how to number the labels.”"
        )
    low, middle, high = _expected(record)
    held, seen = record["interpolation"]["hold_mean"], record["neighbors"]["layers"]
    word = "may be as large as" if gap["high"] > _LIMIT else "is at most"
    said = [
        f"“**{verdict['outcome'].capitalize()}.** The network is right on {right:.1%} of its "
        f"{samples:,} training samples. On images that it has never seen about {middle:.0%} is "
        f"to be expected, and between {low:.0%} and {high:.0%} nine times out of ten. The gap "
        f"between the two, about {gap['estimate']:z.2f}, {word} {gap['high']:.2f}; {_LIMIT} was "
        "allowed.",
        f"Half way to another image of its label a sample keeps that label in {held:.0%} of the "
        f"cases, and {seen[0]['error']:.0%} of the images are outvoted by those that look most "
        "like them.",
    ]
    if exhibit.true_labels[0]:
        wrong, listed = shown.wrong
        said.append(f"{wrong} of the {listed} suspects do have a wrong label.")
    said[-1] += "”"
    truth = f"In fact it is right on {exhibit.test_accuracy:.0%} of images that it has never seen."
    return " ".join([*said, truth])


def _expected(record: Mapping[str, Any]) -> tuple[float, float, float]:
    gap = record["gap"]
    ends = (gap["high"], gap["estimate"], gap["low"])
    low, middle, high = (min(1.0, max(0.0, record["accuracy"] - one)) for one in ends)
    return low, middle, high


def _wrong_labels(exhibit: Exhibit, folder: Path) -> tuple[int, int]:
    from analyzer.audit.suspects import read_suspects

    file, name = exhibit.true_labels
    if not file:
        return 0, 0
    with np.load(ROOT / file) as stored:
        true = stored[name]
    suspects = read_suspects(folder)
    return sum(one.label != true[one.index] for one in suspects), len(suspects)


def _wrapped(text: str) -> str:
    lines = (textwrap.fill(line, 100, break_on_hyphens=False) for line in text.splitlines())
    return "\n".join(lines)


def _onnx_gap(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    code = "import sys; sys.argv[0] = 'onnx-gap'; from analyzer.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )


def take_picture(report: Path, picture: Path, chromium: str) -> None:
    """The first screen of a report as a PNG file of few colors."""
    with tempfile.TemporaryDirectory() as folder:
        taken = Path(folder) / "screen.png"
        options = "--headless=new --no-sandbox --disable-gpu --hide-scrollbars"
        size = f"--window-size={_WIDTH},{_HEIGHT}"
        command = [chromium, *options.split(), size, f"--screenshot={taken}", report.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        with Image.open(taken) as screen:
            few = screen.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)


def copy_sources(folder: Path) -> None:
    """What the commands of the page name."""
    for file in (*GALLERY.glob("*.onnx"), *GALLERY.glob("*.npz")):
        shutil.copy(file, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chromium", default="chromium", help="program that takes the pictures")
    parser.add_argument("--pages", type=Path, help="keep the audit folders here")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.pages or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        copy_sources(folder)
        shown = {}
        for exhibit in EXHIBITS:
            shutil.rmtree(folder / exhibit.name, ignore_errors=True)
            shown[exhibit.name] = run_exhibit(exhibit, folder)
            report = (folder / exhibit.name / "report.html").absolute()
            take_picture(report, GALLERY / f"{exhibit.name}.png", given.chromium)
    PAGE.write_text(page_of(shown), encoding="utf-8")


if __name__ == "__main__":
    main()
