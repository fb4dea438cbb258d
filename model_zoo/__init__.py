"""Reference networks: what ships in the package, and how it was made.

Looking things up needs numpy and the standard library alone. Training needs the extra ``zoo``;
torch is imported only once a network is trained.
"""

from model_zoo.bundled import ZooEntry, entries, find
from model_zoo.datasets import DATA_SETS, DataSet
from model_zoo.population_training import train_population
from model_zoo.populations import POPULATIONS
from model_zoo.recipes import PopulationSpec, Recipe, recipes

__all__ = [
    "DATA_SETS",
    "POPULATIONS",
    "DataSet",
    "PopulationSpec",
    "Recipe",
    "ZooEntry",
    "entries",
    "find",
    "recipes",
    "train_population",
]
