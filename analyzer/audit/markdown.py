"""The result as Markdown: a page for a CI run, and a section for a model card.

Names come from strangers: they are shown as they are, and none of them makes a heading, a link, a
table cell or a tag.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from io import FileIO
from pathlib import Path

from analyzer.audit.folder import AUDIT, REPORT, STOPPED
from analyzer.audit.report import Ending
from analyzer.audit.suspects import SUSPECTS, Suspect
from analyzer.audit.verdict import FAIL, NOT_JUDGEABLE, PASS, told_apart
from analyzer.audit_record import AuditRecord, LimitRecord
from analyzer.control_characters import printable
from analyzer.errors import OutputError, parameter
from analyzer.output_files import check_place, make_parents, write_text

__all__ = [
    "check_model_card",
    "markdown_text",
    "model_card_of",
    "step_summary",
    "summary_of",
    "write_model_card",
    "write_summary",
]

_STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
_SIGNED = "<!-- onnx-gap report --model-card -->"  # a card that may be written again

_MARKS = {PASS: "✅ Pass", FAIL: "❌ Fail", NOT_JUDGEABLE: "❔ Not judgeable"}
_CLASSES, _SUSPECTS = 5, 10  # that are shown
_LONGEST = 160  # characters of a name
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "@": "&#64;", ":": "&#58;"}
_SPECIAL = re.compile(r"[\\`*_\[\]~$#!{}]|[&<>|@]|:(?=//)|(?<=\bwww)\.", re.IGNORECASE)


def markdown_text(text: str) -> str:
    """``text`` on one line, as Markdown that shows it and does nothing else."""

    def escape(found: re.Match[str]) -> str:
        return _ENTITIES.get(found[0]) or ("&#46;" if found[0] == "." else f"\\{found[0]}")

    return _SPECIAL.sub(escape, printable(text))


def step_summary() -> Path:
    """The file whose content GitHub shows on the page of a run.

    Raises:
        OutputError: this is no step of a GitHub workflow, its file cannot be written, or is a pipe,
            on which writing can wait forever.
    """
    named = os.environ.get(_STEP_SUMMARY)
    if not named:
        raise OutputError(
            f"{parameter('markdown', 'auto')} adds to the file that ${_STEP_SUMMARY} names, and "
            f"that is not set here; name a file: {parameter('markdown', 'FILE')}."
        )
    path = Path(named)
    if path.is_fifo():
        raise OutputError(
            f"${_STEP_SUMMARY} names {path}, which is a pipe. Name a file: "
            f"{parameter('markdown', 'FILE')}."
        )
    with _told(path):
        if path.exists():
            path.open("ab").close()
        else:
            check_place(path)
    return path


def _add_to(path: Path, text: bytes) -> None:
    """Add to the summary of a step, in one write: others add to it, too.

    It is not written aside, since GitHub may have mounted the file. Where there is no room, what
    was there stays as it was, and nothing new is left.

    Raises:
        OutputError: it cannot be written.
    """
    existed = os.path.lexists(path)
    with _told(path):
        try:
            with path.open("ab", buffering=0) as file:
                _add_whole(file, text)
        except OSError:
            if not existed:
                path.unlink(missing_ok=True)
            raise


def _add_whole(file: FileIO, text: bytes) -> None:
    """Write all of ``text`` at the end of a file, or nothing."""
    before, added = os.fstat(file.fileno()).st_size, 0
    try:
        while added < len(text):
            added += file.write(text[added:])
    except OSError:
        if added and os.fstat(file.fileno()).st_size == before + added:  # nobody else's is behind
            file.truncate(before)
        raise


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the variable where the summary of a step cannot be written."""
    try:
        yield
    except (OSError, OutputError) as error:
        why = error.__cause__ or error
        raise OutputError(
            f"${_STEP_SUMMARY} names {path}, which cannot be written: "
            f"{getattr(why, 'strerror', None) or why}. "
            f"Name a file: {parameter('markdown', 'FILE')}."
        ) from error


def write_summary(where: Path | str, ending: Ending) -> None:
    """Write :func:`summary_of` to a file, or with "auto" add it to :func:`step_summary`.

    Raises:
        OutputError: it cannot be written.
    """
    if where != "auto":
        path = Path(where)
        make_parents(path)
        write_text(path, summary_of(ending, beside=path.parent))
        return
    path = step_summary()
    _add_to(path, summary_of(ending).encode(errors="backslashreplace") + b"\n")


def check_model_card(path: Path) -> None:
    """Refuse a place for a card where another file is, or that cannot be written.

    Raises:
        OutputError: the sentence names it.
    """
    check_place(path, parents=True)
    if path.exists() and _SIGNED.encode() not in path.read_bytes():
        raise OutputError(
            f"{path} exists and is no model card that onnx-gap wrote. Name another file; into a "
            "card of your own, copy model-index and the section from there."
        )


def write_model_card(path: Path, ending: Ending) -> None:
    """Write :func:`model_card_of` to ``path``, unless that is a card of somebody else.

    Raises:
        OutputError: as :func:`check_model_card`.
    """
    check_model_card(path)
    make_parents(path)
    write_text(path, model_card_of(ending))


def summary_of(ending: Ending, beside: Path | None = None) -> str:
    """The page for a CI run: verdict, expected accuracy, limits, worst classes, suspects.

    Args:
        ending: of the audit.
        beside: the folder of the page, from which it links to the audit's files; None where it is
            shown elsewhere.
    """
    verdict, record = ending.verdict, ending.record
    word = _MARKS[verdict.outcome] if verdict else "Audited"
    blocks = [f"## {word}: {_name(ending.model)}"]
    if not record:
        blocks.append(markdown_text(ending.reason))
    elif verdict:
        blocks.extend(markdown_text(sentence) for sentence in verdict.reasons)
    blocks.append(_figures(ending))
    if verdict and verdict.limits:
        blocks += ["### Limits", _limits(ending, verdict.limits)]
    if record:
        blocks += _classes(ending, record)
        if ending.suspects:
            blocks += ["### Samples to look at", *_suspects(ending)]
        if record.warnings:
            blocks += ["### Warnings", "\n".join(f"- {markdown_text(w)}" for w in record.warnings)]
        if record.gap and record.gap.warnings:
            blocks.append(f"_{markdown_text(record.gap.warnings[0])}_")
    if ending.folder is not None:
        blocks.append(_files(ending, ending.folder, beside))
    return "\n\n".join(blocks) + "\n"


def model_card_of(ending: Ending) -> str:
    """A model card with the result: ``model-index`` metadata, and a section that says the same.

    An estimate that cannot be relied on is not among the metrics; the section says why.

    Args:
        ending: of a finished audit.
    """
    record = ending.record
    assert record is not None, "of a finished audit"
    blocks = [
        "\n".join(["---", *_metadata(ending, record), "---"]),
        _SIGNED,
        "## Generalization audit",
        f"{_name(_last_part(record.model.path))} was audited on its training data with onnx-gap "
        f"{_version(record)}{_day(record)}{_auditor(record)}. The generalization gap is the "
        "accuracy on the training data minus the accuracy on data that the network has never seen.",
        _figures(ending),
    ]
    if record.verdict:
        blocks += [markdown_text(record.verdict.sentence), _limits(ending, record.verdict.limits)]
    if ending.gap:
        blocks.append(markdown_text(ending.gap.warnings[0]) if ending.gap.warnings else "")
    if record.warnings:
        blocks.append("\n".join(f"- {markdown_text(warning)}" for warning in record.warnings))
    blocks.append(
        _table(
            ("origin", "value"),
            [
                ("Network, SHA-256", record.model.sha256),
                ("Training data, SHA-256", record.data.sha256),
                ("Gap model", _gap_model(record)),
            ],
        )
    )
    return "\n\n".join(block for block in blocks if block) + "\n"


def _metadata(ending: Ending, record: AuditRecord) -> Iterator[str]:
    """Lines of YAML, in which every scalar is written as JSON."""
    metrics: list[tuple[str, str, float]] = [
        ("accuracy", "Accuracy on the training data", record.accuracy)
    ]
    if ending.gap:
        gap = ending.gap
        of = f"of the {gap.coverage:.0%} interval of the generalization gap"
        metrics += [
            ("generalization_gap", "Estimated generalization gap", gap.estimate),
            ("generalization_gap_low", f"Lower end {of}", gap.low),
            ("generalization_gap_high", f"Upper end {of}", gap.high),
        ]
    data = record.data.source
    yield "pipeline_tag: image-classification"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("image-classification", "onnx", "onnx-gap"))
    yield "model-index:"
    yield f"- name: {_scalar(_last_part(record.model.path))}"
    yield "  results:"
    yield "  - task:"
    yield "      type: image-classification"
    yield "      name: Image Classification"
    yield "    dataset:"
    yield f"      type: {_scalar(re.sub('[^A-Za-z0-9._-]+', '-', _last_part(data)) or 'data')}"
    yield f"      name: {_scalar(data)}"
    yield "      split: train"
    yield "    metrics:"
    for kind, name, value in metrics:
        yield f"    - type: {kind}"
        yield f"      value: {_scalar(value)}"
        yield f"      name: {_scalar(name)}"
        yield "      verified: false"


def _scalar(value: str | float) -> str:
    """JSON is YAML, but for numbers like 1e-05, which YAML 1.1 takes for text."""
    if isinstance(value, float):
        return f"{value:.10f}".rstrip("0") + ("0" if value == round(value) else "")
    return json.dumps(printable(value), ensure_ascii=False)


def _figures(ending: Ending) -> str:
    record, gap, expected = ending.record, ending.gap, ending.expected
    rows = []
    if gap and expected:
        interval = f"{gap.coverage:.0%} interval {expected.low:.0%} to {expected.high:.0%}"
        rows.append(("Expected accuracy on unseen data", f"**{expected.unseen:.0%}** ({interval})"))
    else:
        why = "" if record is None else f": {markdown_text(ending.doubt)}"
        rows.append(("Expected accuracy on unseen data", f"no dependable estimate{why}"))
    samples = f" of {record.data.samples:,} samples" if record else " of those looked at"
    rows.append(("Accuracy on the training data", f"{ending.accuracy:.1%}{samples}"))
    if record:
        rows.append(("Chance", f"{record.chance:.1%}"))
        test = record.sections.get("test")
        if test is not None:
            measured = f"{test.accuracy:.1%} of {test.samples:,} samples: a gap of {test.gap:z.3f}"
            if test.in_training:
                measured += f"; {test.in_training:,} of them are among the training samples, too"
            rows.append(("Accuracy on the test data, as measured", measured))
    if gap:
        rows.append(
            (
                "Estimated generalization gap",
                f"{gap.estimate:z.3f} ({gap.coverage:.0%} interval {gap.low:z.3f} to "
                f"{gap.high:z.3f}), by {_name(gap.gap_model_name or 'a gap model')}",
            )
        )
    return _table(("figure", "value"), rows)


def _limits(ending: Ending, limits: Iterable[LimitRecord]) -> str:
    gate = ending.record.settings.get("gate", "upper") if ending.record else "upper"
    gaps = {"upper": "gap, upper end of the interval", "measured": "measured gap"}
    words = {
        "max_gap": f"{gaps.get(gate, 'estimated gap')}, at most",
        "min_accuracy": "accuracy on the training data, at least",
        "max_suspects": "share of labels more likely wrong than right, at most",
    }
    rows = [
        (
            words.get(one.name) or markdown_text(one.name),
            told_apart(0, one.limit)[1],
            "–" if one.figure is None else told_apart(one.figure, one.limit)[0],
            _MARKS[one.outcome],
        )
        for one in limits
    ]
    return _table(("limit", "asked for", "found", "outcome"), rows) if rows else ""


def _classes(ending: Ending, record: AuditRecord) -> Iterator[str]:
    """A heading, and the classes that are worst by what is known of them."""
    worst = [one for one in record.worst_first if one.gap is not None][:_CLASSES]
    if worst and not ending.doubt:
        yield "### Classes with the largest estimated gaps"
        gaps = [
            (
                _name(one.name),
                f"{one.samples:,}",
                f"{one.accuracy:.1%}",
                f"{one.gap:z.3f} ({one.gap_low:z.3f} to {one.gap_high:z.3f})",
            )
            for one in worst
        ]
        yield _table(("class", "samples", "accuracy", "estimated gap"), gaps)
        return
    yield "### Weakest classes, by accuracy and then by ζ"
    weakest = sorted(record.classes, key=lambda one: (one.accuracy, -(one.zeta or 0)))[:_CLASSES]
    rows = [
        (
            _name(one.name),
            f"{one.samples:,}",
            f"{one.accuracy:.1%}",
            "–" if one.zeta is None else f"{one.zeta:.3f}",
        )
        for one in weakest
    ]
    yield _table(("class", "samples", "accuracy", "ζ"), rows)


def _suspects(ending: Ending) -> Iterator[str]:
    first = ending.suspects[:_SUSPECTS]
    yield (
        f"The first {len(first)} of {len(ending.suspects):,} in {SUSPECTS}: a list to look "
        "through, not a verdict."
    )
    rows = [
        (
            _name(one.name),
            _name(one.label_name),
            _name(_rather(one)),
            "–" if one.wrong_probability is None else f"{one.wrong_probability:.0%}",
        )
        for one in first
    ]
    yield _table(("sample", "labeled", "perhaps", "how likely wrong, if one label in ten is"), rows)


def _rather(suspect: Suspect) -> str:
    """The label that it has instead, if its own is wrong."""
    if suspect.likely is not None:
        return suspect.likely_name
    named = suspect.predicted != suspect.label
    return suspect.predicted_name if named else suspect.other_name


def _files(ending: Ending, folder: Path, beside: Path | None) -> str:
    names = [
        REPORT,
        AUDIT if ending.record else STOPPED,
        *([SUSPECTS] if ending.suspects else []),
    ]
    if beside is None:
        shown = ", ".join(map(markdown_text, names))
        return f"Files in {markdown_text(str(folder))}: {shown}."
    links = (f"[{name}](<{_target(folder / name, beside)}>)" for name in names)
    return f"Files: {', '.join(links)}."


def _target(file: Path, beside: Path) -> str:
    from urllib.parse import quote

    try:
        path = os.path.relpath(file, beside)
    except ValueError:  # another drive of Windows
        path = str(file.absolute())
    return quote(Path(path).as_posix().encode(errors="surrogateescape"))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _name(name: str) -> str:
    short = name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
    return markdown_text(short) or "(no name)"


def _last_part(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1]


def _version(record: AuditRecord) -> str:
    return markdown_text(record.versions.get("onnx-gap", ""))


def _day(record: AuditRecord) -> str:
    return f" on {markdown_text(record.created[:10])}" if record.created else ""


def _auditor(record: AuditRecord) -> str:
    return f" by {_name(record.made.auditor)}" if record.made.auditor else ""


def _gap_model(record: AuditRecord) -> str:
    if record.gap is None:
        return "none"
    return f"{_name(record.gap.gap_model_name or 'a gap model')}, {record.gap.gap_model}"
