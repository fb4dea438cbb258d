"""The tools are no part of the package: they are found beside the tests."""

import sys
from pathlib import Path

# Behind everything else, so that the package that is installed is the one that is tested.
sys.path.append(str(Path(__file__).parents[1]))
