from .api import (
    AuditWarning,
    audit_network,
    audit_population,
    compare_audits,
    fit_gap_model,
    inspect_network,
    verify_audit,
    write_masked,
)
from .audit_object import Audit, open_audit
from .audit_options import AuditRequest
from .data.preprocessing.preprocess_options import PreprocessOptions
from .errors import (
    AnalyzerError,
    AuditFolderError,
    AuditStopped,
    DataError,
    DeviceError,
    GapModelError,
    ModelError,
    OutputError,
    SiteError,
)
from .version import __version__

__all__ = [
    "AnalyzerError",
    "Audit",
    "AuditFolderError",
    "AuditRequest",
    "AuditStopped",
    "AuditWarning",
    "DataError",
    "DeviceError",
    "GapModelError",
    "ModelError",
    "OutputError",
    "PreprocessOptions",
    "SiteError",
    "__version__",
    "audit_network",
    "audit_population",
    "compare_audits",
    "fit_gap_model",
    "inspect_network",
    "open_audit",
    "verify_audit",
    "write_masked",
]
