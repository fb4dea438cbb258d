"""The result for other programs: JUnit's XML for CI servers, and a run of MLflow.

In JUnit an audit is a test suite and a limit a test case. MLflow is an extra (``mlflow``).
"""

import contextlib
import math
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from analyzer.audit.folder import RESULT_FILES, finished_audit
from analyzer.audit.report import Ending, ending_of
from analyzer.audit.result_manifest import MANIFEST
from analyzer.audit.verdict import FAIL, PASS, told_apart
from analyzer.audit_record import AuditRecord, LimitRecord
from analyzer.control_characters import printable
from analyzer.errors import OutputError, parameter
from analyzer.measures.registry import feature_values
from analyzer.output_files import make_parents, write_text

__all__ = ["junit_of", "log_to_mlflow", "write_junit"]

_NOT_JUDGEABLE = {None: "error", PASS: "skipped", FAIL: "failure"}
_LONGEST = 500  # characters of a parameter, in the smallest of MLflow's stores
_TAG = "onnx_gap"
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # schemes of tracking URIs
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "MLFLOW_HTTP_REQUEST_TIMEOUT": "30"}
"""What MLflow is told about servers that do not answer, on which it would wait for minutes."""


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
        yield _judged(
            _case(ending, f"{limit.name} {told_apart(0, limit.limit)[1]}"), limit, not_judgeable
        )
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
        if ending.record.site is not None:
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


def log_to_mlflow(folder: str | Path, tracking_uri: str = "auto") -> str:
    """Log the audit in ``folder`` as a run: its figures, options, origin and files.

    ``MLFLOW_EXPERIMENT_NAME`` and ``MLFLOW_RUN_ID`` choose the experiment, and a run to add to, as
    everywhere in MLflow. A server that does not answer is tried four times, for half a minute each,
    unless MLflow's own variables say otherwise. An estimate that cannot be relied on is not logged
    as a metric; a tag says why. MLflow's reports of usage to its makers are off unless
    ``MLFLOW_DISABLE_TELEMETRY`` says otherwise.

    Args:
        folder: of a finished audit.
        tracking_uri: where MLflow keeps runs; "auto" for where ``MLFLOW_TRACKING_URI`` or MLflow's
            own default says.

    Returns:
        The id of the run.

    Raises:
        AuditFolderError: the folder holds no finished audit.
        OutputError: MLflow is not installed, or does not take the run.
    """
    if not tracking_uri:
        raise OutputError(
            f"{parameter('mlflow')} is empty, which names nothing. Give a tracking URI, or 'auto'."
        )
    ending = ending_of(folder)
    record = ending.record
    assert record is not None, "a folder has a record"
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise OutputError(
            f"{parameter('mlflow')} needs MLflow: pip install 'onnx-gap[mlflow]'."
        ) from None
    try:
        with _patient(), _tracking(mlflow, tracking_uri):
            _refuse_database_without_driver(mlflow.get_tracking_uri())
            with mlflow.start_run(run_name=printable(record.model.path)) as run:
                mlflow.log_params(dict(_params(record)))
                figures = _metrics(ending, record)
                mlflow.log_metrics({name: one for name, one in figures if math.isfinite(one)})
                mlflow.set_tags(dict(_tags(ending, record)))
                _log_files(mlflow, ending.folder or Path(folder))
            return str(run.info.run_id)
    except (MlflowException, OSError) as error:
        said = printable(" ".join(str(error).split())).rstrip(".")
        raise OutputError(
            f"MLflow did not take the audit: {said}. Name another tracking URI with "
            f"{parameter('mlflow', 'URI')}."
        ) from error


@contextlib.contextmanager
def _tracking(mlflow: Any, uri: str) -> Iterator[None]:
    """MLflow at a tracking URI, unless it is "auto"; as it was before, once the block ends."""
    if uri == "auto":
        yield
        return
    before, variable = mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    try:
        mlflow.set_tracking_uri(uri)
        yield
    finally:
        mlflow.set_tracking_uri(before)
        if variable is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """Bound how long MLflow tries to reach a server, where the environment does not say."""
    ours = {name: value for name, value in _PATIENCE.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _refuse_database_without_driver(uri: str) -> None:
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme in _DATABASES and not all(map(find_spec, ("sqlalchemy", "alembic"))):
        raise OutputError(
            f"MLflow keeps runs in the database {uri} by packages that are not installed: pip "
            "install 'onnx-gap[mlflow]'."
        )


def _log_files(mlflow: Any, folder: Path) -> None:
    with finished_audit(folder):
        for name in (*RESULT_FILES, MANIFEST):
            if (folder / name).is_file():
                mlflow.log_artifact(str(folder / name), "audit")


def _params(record: AuditRecord) -> Iterator[tuple[str, str]]:
    said: dict[str, Any] = {
        **record.settings,
        **{f"preprocessing.{name}": value for name, value in record.data.preprocessing.items()},
        "model": record.model.path,
        "data": record.data.source,
        "site": "none" if record.site is None else record.site.tensor,
    }
    for name, value in said.items():
        if value is not None:
            yield name, printable(str(value))[:_LONGEST]


def _metrics(ending: Ending, record: AuditRecord) -> Iterator[tuple[str, float]]:
    yield "accuracy", record.accuracy
    yield "chance", record.chance
    if record.zeta is not None and record.kappa is not None:
        yield "zeta", record.zeta
        yield "kappa", record.kappa
    yield "samples", float(record.data.samples)
    yield "suspects", float(record.suspects)
    yield "seconds", record.seconds.total
    if record.doubtful_labels is not None:
        yield "doubtful_labels", record.doubtful_labels
    yield from feature_values(record).items()
    if ending.gap and ending.expected:
        yield "gap_estimate", ending.gap.estimate
        yield "gap_low", ending.gap.low
        yield "gap_high", ending.gap.high
        yield "expected_accuracy", ending.expected.unseen
    test = record.sections.get("test")
    for name in ("accuracy", "gap", "top5", "train_top5") if test else ():
        if (value := getattr(test, name)) is not None:
            yield name if name == "train_top5" else f"test_{name}", value


def _tags(ending: Ending, record: AuditRecord) -> Iterator[tuple[str, str]]:
    said = {
        "version": record.versions.get("onnx-gap", ""),
        "verdict": record.verdict.outcome if record.verdict else "",
        "verdict_sentence": record.verdict.sentence if record.verdict else "",
        "no_estimate": ending.doubt,
        "gap_model": record.gap.gap_model_name if record.gap else "",
        "model_sha256": record.model.sha256,
        "data_sha256": record.data.sha256,
        "device": record.device.used,
        "auditor": record.made.auditor,
        "created": record.created,
    }
    for name, value in said.items():
        if value:
            yield f"{_TAG}.{name}", printable(value)
