"""The errors a caller can act on.

Every one of them is a sentence that names the culprit and the way out. They know nothing of
the command line; :mod:`analyzer.cli` turns them into exit code 2 in one place.
"""

__all__ = [
    "AnalyzerError",
    "AuditFolderError",
    "DataError",
    "DeviceError",
    "GapModelError",
    "ModelError",
    "OutputError",
    "SiteError",
]


class AnalyzerError(Exception):
    """Bad input of any kind: the caller can mend it."""


class ModelError(AnalyzerError):
    """The ONNX file cannot be read, cut or run."""


class SiteError(AnalyzerError):
    """No tensor fits what was asked to be masked."""


class DataError(AnalyzerError):
    """The labelled samples cannot be read, or do not fit the network."""


class DeviceError(AnalyzerError):
    """The device that was asked for cannot be had."""


class GapModelError(AnalyzerError):
    """A gap model or the population it is fitted on is unusable."""


class AuditFolderError(AnalyzerError):
    """An audit folder cannot be written, or holds something else than expected."""


class OutputError(AnalyzerError):
    """A result cannot be written."""
