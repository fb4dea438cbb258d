from .compare import ClassChange, Comparison, compare_audits
from .compare_page import write_comparison
from .folder import finished_audit, read_record, to_dict
from .network_outline import outline_with_cost
from .plots import write_population_figure
from .population import Member, audit_population, read_manifest
from .population_result import AuditedPopulation
from .provenance import installed_versions
from .report import render_report
from .run import run_audit
from .verify import Verification, verify_audit

__all__ = [
    "AuditedPopulation",
    "ClassChange",
    "Comparison",
    "Member",
    "Verification",
    "audit_population",
    "compare_audits",
    "finished_audit",
    "installed_versions",
    "outline_with_cost",
    "read_manifest",
    "read_record",
    "render_report",
    "run_audit",
    "to_dict",
    "verify_audit",
    "write_comparison",
    "write_population_figure",
]
