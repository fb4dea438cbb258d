from .compare import Comparison, compare_audits
from .folder import read_curves, read_samples
from .population import Member, audit_population, read_manifest
from .population_figure import write_population_figure
from .record import AuditRecord, read_record, to_dict
from .report import render_report
from .request import AuditRequest
from .run import run_audit
from .verify import Verification, verify_audit
from .versions import installed_versions

__all__ = [
    "AuditRecord",
    "AuditRequest",
    "Comparison",
    "Member",
    "Verification",
    "audit_population",
    "compare_audits",
    "installed_versions",
    "read_curves",
    "read_manifest",
    "read_record",
    "read_samples",
    "render_report",
    "run_audit",
    "to_dict",
    "verify_audit",
    "write_population_figure",
]
