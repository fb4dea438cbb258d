"""Sources of labelled samples, and the declared preprocessing that brings them to a network."""

from analyzer.data.arrays import from_arrays
from analyzer.data.batches import Batch, Skipped, batches
from analyzer.data.classes import ClassList, read_classes
from analyzer.data.declaration import INTERPOLATIONS
from analyzer.data.labels import check_classes, limit_per_class
from analyzer.data.opening import open_data
from analyzer.data.options import PRESETS, PreprocessOptions
from analyzer.data.preprocessing import Preprocessing
from analyzer.data.resolve import resolve_preprocessing
from analyzer.data.source import Sample, Source, combine_digests
from analyzer.data.thumbnails import thumbnail
from analyzer.data.values import read_value

__all__ = [
    "INTERPOLATIONS",
    "PRESETS",
    "Batch",
    "ClassList",
    "PreprocessOptions",
    "Preprocessing",
    "Sample",
    "Skipped",
    "Source",
    "batches",
    "check_classes",
    "combine_digests",
    "from_arrays",
    "limit_per_class",
    "open_data",
    "read_classes",
    "read_value",
    "resolve_preprocessing",
    "thumbnail",
]
