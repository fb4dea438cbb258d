"""``onnx-gap compare``"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from analyzer.cli.click_options import (
    PATH,
    Command,
    Number,
    ResultFile,
    WholeNumber,
    exit_codes,
    json_option,
    progress_option,
)
from analyzer.cli.terminal import complain, print_json, print_table, show, show_progress, warn

if TYPE_CHECKING:
    from analyzer.audit import ClassChange, Comparison

_CLASSES_SHOWN = 12
_NAME_SHOWN = 16
_WORSE, _NOT_JUDGEABLE = 1, 4
_SYMBOLS = {"accuracy": "accuracy", "zeta": "ζ", "kappa": "κ", "area_descending": "area E",
            "area_ascending": "area Eʳ"}  # fmt: skip


@click.command(
    "compare",
    cls=Command,
    short_help="Compare audits.",
    epilog=exit_codes(
        {
            1: "ζ or the estimated gap rose, or κ fell, by more than --tolerance",
            4: "ζ and κ cannot be compared",
        }
    ),
)
@click.argument("before", type=PATH)
@click.argument("after", type=PATH, nargs=-1, required=True)
@click.option(
    "--tolerance",
    type=Number(0),
    default=0.01,
    show_default=True,
    metavar="X",
    help="By how much ζ and the estimated gap may rise, and κ may fall.",
)
@click.option(
    "--resamples",
    type=WholeNumber(100, 100_000),
    default=2000,
    show_default=True,
    metavar="N",
    help="Bootstrap resamples, for the noise of the differences.",
)
@click.option(
    "--seed",
    type=WholeNumber(0),
    default=0,
    show_default=True,
    metavar="N",
    help="Seed of the resamples.",
)
@click.option(
    "--html",
    type=ResultFile(),
    metavar="FILE",
    help="Also write a page with the curves of both and the classes that moved.",
)
@progress_option
@json_option
def command(
    before: Path,
    after: tuple[Path, ...],
    tolerance: float,
    resamples: int,
    seed: int,
    html: Path | None,
    shown: str,
    as_json: bool,
) -> int:
    """Compare the audit folders AFTER, one or more, with the audit folder BEFORE.

    Where both audits are of the same samples, a bootstrap over these says which differences are
    more than sampling noise, of the network and of its classes.

    \b
    Examples:
      onnx-gap compare audit-v1 audit-v2
      onnx-gap compare audit-v1 audit-v2 --tolerance 0.02 --json
      onnx-gap compare audit-v1 audit-v2 audit-v3 --html comparison.html
    """
    from analyzer.audit import (
        compare_audits,
        refuse_idle_draw,
        refuse_to_replace,
        write_comparison,
    )

    refuse_to_replace({"html": html}, [], [before, *after])
    with show_progress(shown) as progress:
        found = [
            compare_audits(
                before,
                folder,
                tolerance=tolerance,
                resamples=resamples,
                seed=seed,
                progress=progress,
            )
            for folder in after
        ]
    refuse_idle_draw(found, resamples, seed)
    if html is not None:
        write_comparison((before, *after), found, html)
    if as_json:
        print_json(_json(found))
    else:
        for number, one in enumerate(found):
            if number:
                click.echo()
            if len(found) > 1:
                show(f"{after[number]} against {before}")
            _show(one)
        if html is not None:
            show(f"{html}: the comparison to read")
    for sentence in dict.fromkeys(sentence for one in found for sentence in one.warnings):
        warn(sentence)
    codes = [
        _judge(one, f"{folder}: " if len(found) > 1 else "")
        for folder, one in zip(after, found, strict=True)
    ]
    return max(codes, key=(0, _NOT_JUDGEABLE, _WORSE).index)


def _json(found: "Sequence[Comparison]") -> dict[str, Any]:
    """A comparison, or the list of several."""
    if len(found) == 1:
        return found[0].to_dict()
    return {
        "worse": any(one.worse for one in found),
        "comparisons": [one.to_dict() for one in found],
    }


def _judge(found: "Comparison", whose: str) -> int:
    for sentence in found.reasons:
        complain(whose + sentence, "Worse")
    if found.worse:
        return _WORSE
    if not found.comparable:
        complain(f"{whose}ζ and κ are not the same quantities in both audits.", "Not judgeable")
        return _NOT_JUDGEABLE
    return 0


def _show(found: "Comparison") -> None:
    changes = {"accuracy": found.accuracy, "zeta": found.zeta, "kappa": found.kappa}
    noise = found.noise.quantities
    rows = []
    for name, change in changes.items():
        interval, verdict = "–", "noise not known"
        if name in noise:
            interval = f"{noise[name].low:+z.4f} to {noise[name].high:+z.4f}"
            verdict = "beyond noise" if noise[name].beyond else "within noise"
        rows.append((_SYMBOLS[name], *_change(change), interval, verdict))
    if found.gap is not None:
        rows.append(("estimated gap", *_change(found.gap), "–", ""))
    print_table(("", "before", "after", "difference", "95 % interval", ""), rows)
    click.echo()
    if any(item.noise for item in found.classes):
        _show_moved([item for item in found.classes if item.moved], len(found.classes))
    for sentence in found.noise.unjudged:
        show(sentence)


def _change(change: Any) -> tuple[str, str, str]:
    return f"{change.before:z.4f}", f"{change.after:z.4f}", f"{change.difference:+z.4f}"


def _show_moved(moved: "Sequence[ClassChange]", classes: int) -> None:
    if not moved:
        show("No class moved by more than sampling noise.")
        return
    show(f"{len(moved)} of {classes} classes moved by more than sampling noise:")
    listed = sorted(moved, key=lambda item: -abs(item.accuracy.difference))
    print_table(
        ("class", "name", "accuracy", "ζ", "κ", "moved"),
        [
            (
                str(item.index),
                item.name if len(item.name) <= _NAME_SHOWN else item.name[: _NAME_SHOWN - 1] + "…",
                *(
                    f"{change.before:.3f} → {change.after:.3f}"
                    for change in (item.accuracy, item.zeta, item.kappa)
                ),
                ", ".join(_SYMBOLS[name] for name in item.moved if name in ("accuracy", "kappa"))
                or ("areas" if item.moved else "–"),
            )
            for item in listed[:_CLASSES_SHOWN]
        ],
    )
    if len(listed) > _CLASSES_SHOWN:
        show(f"… and {len(listed) - _CLASSES_SHOWN} more, whose accuracy differs less")
