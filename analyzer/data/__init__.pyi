from .batches import Batch, KeptPictures, Samples, read_batches
from .class_lists import read_classes
from .first_reading import FirstReading
from .formats.arrays import from_arrays, is_missing_value, read_value
from .formats.registry import class_folders_of, open_data
from .groups import are_missing_groups, read_groups
from .labels import check_class_names, check_classes, limit_per_class
from .preprocessing.preprocess_options import PreprocessOptions, preprocess_options
from .preprocessing.resolve import (
    preprocessing_of_record,
    preprocessing_of_test_data,
    recorded_preprocessing,
    resolve_preprocessing,
)
from .preprocessing.spec import INTERPOLATIONS, PRESETS
from .preprocessing.steps import Preprocessing
from .source import Source, combine_digests
from .thumbnails import shows_sample, thumbnail

__all__ = [
    "INTERPOLATIONS",
    "PRESETS",
    "Batch",
    "FirstReading",
    "KeptPictures",
    "PreprocessOptions",
    "Preprocessing",
    "Samples",
    "Source",
    "are_missing_groups",
    "check_class_names",
    "check_classes",
    "class_folders_of",
    "combine_digests",
    "from_arrays",
    "is_missing_value",
    "limit_per_class",
    "open_data",
    "preprocess_options",
    "preprocessing_of_record",
    "preprocessing_of_test_data",
    "read_batches",
    "read_classes",
    "read_groups",
    "read_value",
    "recorded_preprocessing",
    "resolve_preprocessing",
    "shows_sample",
    "thumbnail",
]
