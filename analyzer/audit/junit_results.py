"""JUnit's XML, which every CI server shows: a test suite an audit, a test case a limit."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from analyzer.audit.ending import Ending
from analyzer.audit.verdict import FAIL, PASS
from analyzer.audit_record import LimitRecord
from analyzer.files import make_parents, write_text
from analyzer.printable import printable

__all__ = ["junit_of", "write_junit"]

_NOT_JUDGEABLE = {None: "error", PASS: "skipped", FAIL: "failure"}


def write_junit(path: Path, ending: Ending, not_judgeable: str | None = None) -> None:
    """Write :func:`junit_of` to ``path``; its folder is made if needed."""
    make_parents(path)
    write_text(path, junit_of(ending, not_judgeable))


def junit_of(ending: Ending, not_judgeable: str | None = None) -> str:
    """One XML document with the limits of an audit as test cases.

    A limit that failed is a failure. One that cannot be judged is an error, since a build that
    cannot tell must not look green. Without limits the audit itself is the only test case.

    Args:
        ending: of the audit.
        not_judgeable: "pass" or "fail", where what cannot be judged is to count as skipped or as
            failed.
    """
    cases = list(_cases(ending, not_judgeable))
    kinds = [child.tag for case in cases for child in case]
    seconds = ending.record.seconds.total if ending.record else 0.0
    counts = {
        "tests": str(len(cases)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
        "time": f"{seconds:.3f}",
    }
    attributes = {"name": "onnx-gap", **counts}
    suites = ElementTree.Element("testsuites", attributes)
    suite = ElementTree.SubElement(suites, "testsuite", attributes)
    if ending.record:
        suite.set("hostname", printable(ending.record.made.host))
        # Readers take it without an offset; it is UTC.
        suite.set("timestamp", printable(ending.record.created[:19]))
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(ending):
        ElementTree.SubElement(properties, "property", {"name": name, "value": printable(value)})
    suite.extend(cases)
    if ending.record and ending.record.warnings:
        said = ElementTree.SubElement(suite, "system-err")
        said.text = "\n".join(f"Warning: {printable(one)}" for one in ending.record.warnings)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + (
        ElementTree.tostring(suites, encoding="unicode") + "\n"
    )


def _cases(ending: Ending, not_judgeable: str | None) -> Iterator[ElementTree.Element]:
    verdict = ending.verdict
    if verdict is None:
        yield _case(ending, "audit")
        return
    for limit in verdict.limits:
        yield _judged(_case(ending, f"{limit.name} {limit.limit:g}"), limit, not_judgeable)
    if not verdict.limits:
        case = _case(ending, "first look")
        _add(case, _NOT_JUDGEABLE[not_judgeable], verdict.outcome, ending.reason)
        yield case


def _case(ending: Ending, name: str) -> ElementTree.Element:
    classname = f"onnx-gap.{printable(ending.model).replace('.', '_')}"  # dots part packages
    return ElementTree.Element("testcase", {"classname": classname, "name": name})


def _judged(
    case: ElementTree.Element, limit: LimitRecord, not_judgeable: str | None
) -> ElementTree.Element:
    if limit.outcome == PASS:
        ElementTree.SubElement(case, "system-out").text = printable(limit.sentence)
    else:
        kind = "failure" if limit.outcome == FAIL else _NOT_JUDGEABLE[not_judgeable]
        _add(case, kind, limit.outcome, limit.sentence)
    return case


def _add(case: ElementTree.Element, kind: str, outcome: str, sentence: str) -> None:
    attributes = {"message": printable(sentence)}
    if kind != "skipped":
        attributes["type"] = outcome
    ElementTree.SubElement(case, kind, attributes).text = printable(sentence)


def _properties(ending: Ending) -> Iterator[tuple[str, str]]:
    yield "model", ending.model
    yield "data", ending.data
    yield "accuracy", repr(ending.accuracy)
    if ending.verdict:
        yield "verdict", ending.verdict.outcome
    if ending.record:
        yield "model_sha256", ending.record.model.sha256
        yield "zeta", repr(ending.record.zeta)
        yield "kappa", repr(ending.record.kappa)
        if ending.record.doubtful_labels is not None:
            yield "doubtful_labels", repr(ending.record.doubtful_labels)
    if ending.gap and ending.expected:
        yield "expected_accuracy", repr(ending.expected.unseen)
        yield "gap_estimate", repr(ending.gap.estimate)
        yield "gap_low", repr(ending.gap.low)
        yield "gap_high", repr(ending.gap.high)
        yield "gap_coverage", repr(ending.gap.coverage)
        yield "gap_model", ending.gap.gap_model_name
    else:
        yield "no_estimate", ending.doubt
