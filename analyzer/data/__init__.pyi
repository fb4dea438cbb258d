from .batches import Batch, FirstReading, Skipped, batches
from .formats import open_data
from .formats.arrays import from_arrays, read_value
from .groups import read_groups
from .images import same_picture, thumbnail
from .labels import ClassList, check_classes, limit_per_class, read_classes
from .preprocessing import Preprocessing
from .preprocessing_options import PreprocessOptions, preprocess_options
from .preprocessing_spec import INTERPOLATIONS, PRESETS
from .resolve_preprocessing import recorded_preprocessing, resolve_preprocessing
from .source import Sample, Source, combine_digests

__all__ = [
    "INTERPOLATIONS",
    "PRESETS",
    "Batch",
    "ClassList",
    "FirstReading",
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
    "preprocess_options",
    "read_classes",
    "read_groups",
    "read_value",
    "recorded_preprocessing",
    "resolve_preprocessing",
    "same_picture",
    "thumbnail",
]
