"""Write tests/fixtures/data/processors.json: what transformers' image processors do by themselves.

Needs transformers with Pillow; the tests need neither. Run from the repository's root:
``python tools/make_processor_fixtures.py``.

The file holds the ``version``, the ``names`` of all image processors, without ``ImageProcessor``,
and the ``files`` that processors made without arguments write, by name, as far as they can be made
without torch and other files.
"""

import ast
import importlib
import json
from pathlib import Path

import transformers

TARGET = Path("tests/fixtures/data/processors.json")


def main() -> None:
    names, files = set(), {}
    package = Path(transformers.__file__).parent
    for path in sorted(package.glob("models/*/image_processing_*.py")):
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.ClassDef) or node.name == "AutoImageProcessor":
                continue
            name = node.name.removesuffix("Pil").removesuffix("ImageProcessor")
            if name == node.name:
                continue
            names.add(name)
            module = ".".join(path.relative_to(package.parent).with_suffix("").parts)
            try:
                files[name] = getattr(importlib.import_module(module), node.name)().to_dict()
            except Exception as error:
                print(f"{node.name}: {error!r:.100}")
    content = {"version": transformers.__version__, "names": sorted(names), "files": files}
    TARGET.write_text(json.dumps(content, default=list, sort_keys=True) + "\n")
    print(f"{TARGET}: {len(names)} names, {len(files)} files, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
