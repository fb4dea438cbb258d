from .measure import Check, Draw, Job, Measure, ReportSection, Subject, check, same
from .registry import FEATURES, MEASURES, SYMBOLS, feature_values, is_feature

__all__ = [
    "FEATURES",
    "MEASURES",
    "SYMBOLS",
    "Check",
    "Draw",
    "Job",
    "Measure",
    "ReportSection",
    "Subject",
    "check",
    "feature_values",
    "is_feature",
    "same",
]
