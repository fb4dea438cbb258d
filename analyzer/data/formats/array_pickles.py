"""Pickles of arrays, as CIFAR is shipped in, read without running what is in them."""

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from analyzer.errors import DataError

__all__ = ["load_arrays"]

_MOST_OPERATIONS = 1_000_000  # of a pickle; CIFAR-100's training data have some 300,000
_BITS = 64
_OF_SETS = {code[0] for code in (pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET)}


def load_arrays(path: Path) -> Mapping[bytes, object]:
    """The dictionary in a pickle that holds plain values and arrays, and nothing that runs.

    Raises:
        DataError: it holds something else, is damaged, or takes long to load for its size.
    """
    try:
        with path.open("rb") as file:
            _check_operations(file)
            content = _ArraysOnly(file, encoding="bytes").load()
    except DataError as error:
        raise DataError(f"{path} {error}") from error
    except Exception as error:
        # A damaged pickle makes the unpickler raise anything from EOFError to TypeError.
        why = str(error) or type(error).__name__
        raise DataError(f"{path} is a damaged pickle ({why}). Fetch it again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no dictionary. Fetch it again.")
    if len({os.fsencode(key) for key in content}) < len(content):
        raise DataError(f"{path} has two entries of one name, as bytes and as text. Remove one.")
    return {
        key.encode() if isinstance(key, str) else key: getattr(value, "values", None)
        if isinstance(value, _Array)
        else value
        for key, value in content.items()
    }


def _check_operations(file: BinaryIO) -> None:
    """Refuse a pickle that takes long to load, or much memory for its size.

    Python's hash of an integer is known, and those of more than 64 bits can all have the same.

    Raises:
        DataError: it is one; the message wants the file's name before it.
        Exception: whatever else a damaged one makes.
    """
    import pickletools

    for number, (_, argument, _) in enumerate(pickletools.genops(file)):
        if number == _MOST_OPERATIONS:
            raise DataError(
                f"is a pickle of more than {_MOST_OPERATIONS:,} operations, many more than "
                "CIFAR's have. Fetch it again."
            )
        if isinstance(argument, int) and argument.bit_length() > _BITS:
            raise _more_than_arrays()
    file.seek(0)


class _Array:
    """Stands for numpy's array, and for the function that makes one: bytes of one shape."""

    __slots__ = ("values",)

    def __call__(self, kind: object, shape: object, code: object) -> "_Array":
        return _Array()

    def __setstate__(self, state: Any) -> None:
        try:
            _, shape, _, fortran, values = state
            array = np.frombuffer(values, np.uint8)
            self.values = array.reshape(shape, order="F" if fortran else "C")
        except (TypeError, ValueError):
            raise _more_than_arrays() from None


class _FromBuffer:
    """Stands for numpy's function that makes an array in protocol 5."""

    __slots__ = ()

    def __call__(self, values: object, kind: object, shape: object, order: object) -> _Array:
        array = _Array()
        array.__setstate__((None, shape, kind, order in ("F", b"F"), values))
        return array

    def __setstate__(self, state: object) -> None:
        raise _more_than_arrays()


class _Type:
    """Stands for numpy's data type: that of bytes."""

    __slots__ = ()

    def __call__(self, code: object, align: object = False, copy: object = False) -> "_Type":
        if code not in ("u1", b"u1"):
            raise _more_than_arrays()
        return self

    def __setstate__(self, state: object) -> None:
        """Byte order and such, which bytes do not have."""


class _Encode:
    """Stands for ``_codecs.encode``, by which Python 3 writes bytes in the old protocols."""

    __slots__ = ()

    def __call__(self, text: object, encoding: object) -> bytes:
        if encoding not in ("latin1", b"latin1") or not isinstance(text, str | bytes):
            raise _more_than_arrays()
        return (text if isinstance(text, str) else text.decode("latin1")).encode("latin1")

    def __setstate__(self, state: object) -> None:
        raise _more_than_arrays()


_ALLOWED: Mapping[tuple[str, str], type] = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.numeric", "_frombuffer"): _FromBuffer,
    ("numpy._core.numeric", "_frombuffer"): _FromBuffer,
    ("_codecs", "encode"): _Encode,
}


class _ArraysOnly(pickle._Unpickler):
    """Unpickles numbers, texts, lists, dictionaries and arrays of bytes; imports nothing.

    Python's own: the one in C makes room for as many memo entries as a pickle says it has. What
    stands for numpy's objects is made here, because numpy trusts the state that it is given.
    """

    stack: list[Any]
    append: Callable[[object], None]
    pop_mark: Callable[[], list[Any]]

    def _set_items(self) -> None:
        """Put into a dictionary what follows the mark: texts, whose hashes nobody can foresee."""
        items = self.pop_mark()
        self._put(items[::2], items[1::2])

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key], [value])

    def _put(self, keys: Sequence[object], values: Sequence[object]) -> None:
        if not all(isinstance(key, str | bytes) for key in keys):
            raise _more_than_arrays()
        self.stack[-1].update(zip(keys, values, strict=True))

    def _dictionary(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._put(items[::2], items[1::2])

    dispatch: ClassVar[dict[int, Callable]] = {
        **{code: load for code, load in pickle._Unpickler.dispatch.items() if code not in _OF_SETS},
        pickle.SETITEMS[0]: _set_items,
        pickle.SETITEM[0]: _set_item,
        pickle.DICT[0]: _dictionary,
    }

    def find_class(self, module: str, name: str) -> object:
        try:
            return _ALLOWED[module, name]()
        except KeyError:
            raise DataError(
                f"is a pickle that asks for {module}.{name}, which could run code. It was "
                "not read further."
            ) from None


def _more_than_arrays() -> DataError:
    return DataError("is a pickle that makes more than arrays of bytes. Fetch it again.")
