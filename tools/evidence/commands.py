"""How the commands of this package end."""

import functools
import sys
from collections.abc import Callable

from analyzer.errors import AnalyzerError

__all__ = ["ending_in_a_sentence"]

Main = Callable[[list[str] | None], None]


def ending_in_a_sentence(main: Main) -> Callable[..., int]:
    """``main`` with an exit code: 0, or 2 after the sentence of an AnalyzerError."""

    @functools.wraps(main)
    def run(arguments: list[str] | None = None) -> int:
        try:
            main(arguments)
        except AnalyzerError as error:
            print(error, file=sys.stderr)
            return 2
        return 0

    return run
