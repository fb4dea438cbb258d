"""``python -m analyzer`` is ``onnx-gap``."""

from analyzer.cli import main

main()
