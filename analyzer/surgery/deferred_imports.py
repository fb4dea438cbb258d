"""Modules that are imported when something of theirs is first used.

onnx-ir imports sympy for arithmetic with symbolic dimensions. That takes longer than numpy, onnx
and onnxruntime together, and the surgery asks for none of it.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

__all__ = ["deferred"]


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Within the block, an import of these modules runs them only once they are used.

    Modules that are imported already stay as they are, and names of none change nothing.
    """
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    def __init__(self, names: Sequence[str]):
        self._names = frozenset(names)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where the module is, if it is one of them, with Python's own way to load it late."""
        if fullname not in self._names:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec
