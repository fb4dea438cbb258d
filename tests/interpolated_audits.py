"""Audits with interpolation and neighbors: their settings, and what `verify` finds of them."""

from analyzer.audit import verify_audit
from tools.forged_folders import seal

BOTH = ("interpolation", "neighbors")
OFF = {"interpolation_samples": 0, "neighbor_samples": 0}
S = 30  # samples


def failed(folder):
    seal(folder)
    return [check.name for check in verify_audit(folder).checks if not check.passed]
