"""How long the texts in tensors can be: an ``Expand`` takes a long one as often as it likes."""

import numpy as np
import onnx_ir as ir

from analyzer.surgery.graph import subgraphs

__all__ = ["TextLengths"]

_OF_A_TEXT = 32  # elements that take as much memory, and time, as a text of a few characters
_DOUBLED = 50  # turns of a loop after which texts that double in each are longer than any
_MOST_TURNS = 1 << 50  # after which texts that grow are longer than any
_BYTES = 4  # of a longer text, that take as much as an element


class TextLengths:
    """The longest text that each tensor can hold."""

    def __init__(self) -> None:
        self._longest: dict[ir.Value, int] = {}  # bytes

    def note(self, node: ir.Node, turns: float | None = None) -> None:
        """Keep how long those can be that a node makes, and those inside it.

        Args:
            turns: of the node, if it is a loop.
        """
        read = [self._of(value) for value in node.inputs if value is not None]
        longest = sum(read) if node.op_type == "StringConcat" else max(read, default=0)
        said = (attr.value for attr in node.attributes.values() if isinstance(attr, ir.Attr))
        listed = (text for value in said if isinstance(value, list | tuple) for text in value)
        longest = max([longest, *(len(text) for text in listed if isinstance(text, str | bytes))])
        if longest:
            self._longest |= dict.fromkeys(node.outputs, longest)
        for body in subgraphs(node):
            tried = int(min(turns or 1, _DOUBLED))
            for _ in range(tried):
                before = longest
                if longest:
                    self._longest |= dict.fromkeys(body.inputs, longest)
                for inner in body:
                    self.note(inner)
                longest = max([longest, *map(self._of, body.outputs)])
                if longest == before:
                    break
            else:  # they grow in each turn
                longest += int(min(turns or 1, _MOST_TURNS) - tried) * (longest - before)
            if longest:
                self._longest |= dict.fromkeys(node.outputs, longest)

    def elements(self, value: ir.Value) -> int:
        """How many elements take as much memory as one of this tensor: 1 where it is no text."""
        if value.dtype not in (ir.DataType.STRING, None):
            return 1
        longest = self._of(value)
        if value.dtype is None and not longest:
            return 1
        return _OF_A_TEXT + longest // _BYTES

    def _of(self, value: ir.Value) -> int:
        if value not in self._longest and value.is_initializer():
            tensor = value.const_value
            if tensor is not None and tensor.dtype == ir.DataType.STRING:
                texts = np.ravel(tensor.numpy()).tolist()
                self._longest[value] = max((len(text) for text in texts), default=0)
        return self._longest.get(value, 0)
