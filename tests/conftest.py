"""What holds for all tests. The tools are no part of the package: they lie beside the tests."""

import sys
from pathlib import Path

from hypothesis import settings

# Behind everything else, so that the package that is installed is the one that is tested.
sys.path.append(str(Path(__file__).parents[1]))

# How long one example takes says something about the machine, nothing about the code.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

_LONGEST = ("test_bench.py", "test_fuzz.py", "test_regime_study.py", "test_sensitivity.py")


def pytest_collection_modifyitems(items):
    """Files that take longest come first: else one of several processes works on them alone."""
    items.sort(key=lambda item: item.path.name not in _LONGEST)
