"""The readers that hostile input is tried on, and where cases that once failed are kept."""

from tools.fuzz.data_lists import DATA_LISTS
from tools.fuzz.data_sources import DATA_SOURCES
from tools.fuzz.harness import ROOT, Target
from tools.fuzz.networks import NETWORKS, WEIGHT_FILES
from tools.fuzz.preprocessing_files import PREPROCESSING_FILES
from tools.fuzz.results import AUDIT_FOLDERS, GAP_MODELS, POPULATION_TABLES

__all__ = ["CORPUS", "TARGETS"]

CORPUS = ROOT / "tests" / "fuzz" / "corpus"
"""A folder a target, a JSON file a case (:func:`tools.fuzz.harness.load_case`)."""

TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        NETWORKS,
        WEIGHT_FILES,
        GAP_MODELS,
        PREPROCESSING_FILES,
        POPULATION_TABLES,
        AUDIT_FOLDERS,
        *DATA_SOURCES,
        *DATA_LISTS,
    )
}
