"""A finished audit as a run of MLflow (extra ``mlflow``), for those who keep their runs there."""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from analyzer.audit.ending import Ending, ending_of
from analyzer.audit.folder import RESULT_FILES, finished_audit
from analyzer.audit.result_manifest import MANIFEST
from analyzer.audit_record import AuditRecord
from analyzer.errors import OutputError, parameter
from analyzer.measures.registry import feature_values
from analyzer.printable import printable

__all__ = ["log_to_mlflow"]

_LONGEST = 500  # characters of a parameter, in the smallest of MLflow's stores
_TAG = "onnx_gap"


def log_to_mlflow(folder: str | Path, tracking_uri: str = "auto") -> str:
    """Log the audit in ``folder`` as a run: its figures, options, origin and files.

    ``MLFLOW_EXPERIMENT_NAME`` and ``MLFLOW_RUN_ID`` choose the experiment, and a run to add to, as
    everywhere in MLflow. An estimate that cannot be relied on is not logged as a metric; a tag says
    why.

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
    ending = ending_of(folder)
    record = ending.record
    assert record is not None, "a folder has a record"
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise OutputError(
            f"{parameter('mlflow')} needs MLflow: pip install 'onnx-gap[mlflow]'."
        ) from None
    before, variable = mlflow.get_tracking_uri(), os.environ.get("MLFLOW_TRACKING_URI")
    try:
        if tracking_uri != "auto":
            mlflow.set_tracking_uri(tracking_uri)
        with mlflow.start_run(run_name=printable(record.model.path)) as run:
            mlflow.log_params(dict(_params(record)))
            figures = _metrics(ending, record)
            mlflow.log_metrics({name: one for name, one in figures if math.isfinite(one)})
            mlflow.set_tags(dict(_tags(ending, record)))
            with finished_audit(ending.folder or folder):
                for name in (*RESULT_FILES, MANIFEST):
                    if (Path(folder) / name).is_file():
                        mlflow.log_artifact(str(Path(folder) / name), "audit")
        return str(run.info.run_id)
    except (MlflowException, OSError) as error:
        said = printable(" ".join(str(error).split())).rstrip(".")
        raise OutputError(
            f"MLflow did not take the audit: {said}. Name another tracking URI with "
            f"{parameter('mlflow', 'URI')}."
        ) from error
    finally:
        if tracking_uri != "auto":
            mlflow.set_tracking_uri(before)
            if variable is None:
                os.environ.pop("MLFLOW_TRACKING_URI", None)


def _params(record: AuditRecord) -> Iterator[tuple[str, str]]:
    said: dict[str, Any] = {
        **record.settings,
        **{f"preprocessing.{name}": value for name, value in record.data.preprocessing.items()},
        "model": record.model.path,
        "data": record.data.source,
        "site": record.site.tensor,
    }
    for name, value in said.items():
        if value is not None:
            yield name, printable(str(value))[:_LONGEST]


def _metrics(ending: Ending, record: AuditRecord) -> Iterator[tuple[str, float]]:
    yield "accuracy", record.accuracy
    yield "chance", record.chance
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
