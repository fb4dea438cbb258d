"""What people keep: the audit folder, its record, report, comparison and verification.

Running an audit needs onnx and onnxruntime, reading one does not: what runs one is imported when
it is first asked for, so that ``compare``, ``verify`` and ``report`` start at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from analyzer.audit.compare import Comparison, compare
from analyzer.audit.folder import read_curves, read_samples
from analyzer.audit.record import AuditRecord, read_record, to_dict
from analyzer.audit.report import render_report
from analyzer.audit.verify import Verification, verify
from analyzer.audit.versions import installed_versions

if TYPE_CHECKING:
    from analyzer.audit.population import Member, audit_population, read_manifest
    from analyzer.audit.population_figure import write_population_figure
    from analyzer.audit.request import AuditRequest
    from analyzer.audit.run import run_audit

__all__ = [
    "AuditRecord",
    "AuditRequest",
    "Comparison",
    "Member",
    "Verification",
    "audit_population",
    "compare",
    "installed_versions",
    "read_curves",
    "read_manifest",
    "read_record",
    "read_samples",
    "render_report",
    "run_audit",
    "to_dict",
    "verify",
    "write_population_figure",
]

_LATE = {
    "AuditRequest": "analyzer.audit.request",
    "Member": "analyzer.audit.population",
    "audit_population": "analyzer.audit.population",
    "read_manifest": "analyzer.audit.population",
    "run_audit": "analyzer.audit.run",
    "write_population_figure": "analyzer.audit.population_figure",
}


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
