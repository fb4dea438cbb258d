from .compare import ClassChange, Comparison, compare_audits, refuse_idle_draw
from .compare_page import write_comparison
from .exports import log_to_mlflow, write_junit
from .folder import finished_audit, read_record, refuse_to_replace, to_dict
from .markdown import check_model_card, step_summary, write_model_card, write_summary
from .network_cost import outline_with_cost
from .plots import check_figure, write_population_figure
from .population import audit_population
from .population_manifest import Member, read_manifest
from .provenance import installed_versions
from .report import ending_of, ending_of_stop, render_report
from .run import run_audit
from .stopped_audit import recorded_names, stopped_dict
from .verify import Verification, verify_audit
from .verify_against_data import Remeasuring

__all__ = [
    "ClassChange",
    "Comparison",
    "Member",
    "Remeasuring",
    "Verification",
    "audit_population",
    "check_figure",
    "check_model_card",
    "compare_audits",
    "ending_of",
    "ending_of_stop",
    "finished_audit",
    "installed_versions",
    "log_to_mlflow",
    "outline_with_cost",
    "read_manifest",
    "read_record",
    "recorded_names",
    "refuse_idle_draw",
    "refuse_to_replace",
    "render_report",
    "run_audit",
    "step_summary",
    "stopped_dict",
    "to_dict",
    "verify_audit",
    "write_comparison",
    "write_junit",
    "write_model_card",
    "write_population_figure",
    "write_summary",
]
