from .bundled import ZooEntry, entries, find
from .datasets import DATA_SETS, DataSet
from .population_training import train_population
from .populations import POPULATIONS
from .recipes import PopulationSpec, Recipe

__all__ = [
    "DATA_SETS",
    "POPULATIONS",
    "DataSet",
    "PopulationSpec",
    "Recipe",
    "ZooEntry",
    "entries",
    "find",
    "train_population",
]
