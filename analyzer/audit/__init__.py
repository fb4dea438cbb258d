"""What people keep: the audit folder, its record, report, comparison and verification."""

from analyzer.audit.compare import Comparison, compare
from analyzer.audit.folder import read_curves, read_samples
from analyzer.audit.population import Member, audit_population, read_manifest
from analyzer.audit.record import AuditRecord, read_record, to_dict
from analyzer.audit.report import render_report
from analyzer.audit.run import AuditRequest, run_audit
from analyzer.audit.verify import Verification, verify

__all__ = [
    "AuditRecord",
    "AuditRequest",
    "Comparison",
    "Member",
    "Verification",
    "audit_population",
    "compare",
    "read_curves",
    "read_manifest",
    "read_record",
    "read_samples",
    "render_report",
    "run_audit",
    "to_dict",
    "verify",
]
