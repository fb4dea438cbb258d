"""Builds every cell of docs/INTEROP.md: exports, audits, compares, writes the table.

    python tools/interop --work FOLDER [--only WORD ...] [--fixtures]

Each framework gets a virtual environment of its own under FOLDER/environments, with its
exporter from the package index; what is there already is used as it is. FOLDER/cells holds the
networks, their samples and the frameworks' own counts. Runs for about half an hour on two cores.
"""

import argparse
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from auditing import Row, audited  # noqa: E402
from cells import read_cell  # noqa: E402
from fixtures import write_fixture  # noqa: E402
from table import write_table  # noqa: E402

PACKAGES = {
    "torch": ("numpy", "onnx", "onnxscript", "torch", "torchvision"),
    "tensorflow": ("onnx", "tensorflow-cpu", "tf2onnx"),
    "jax": ("flax", "jax", "jax2onnx"),
    "paddle": ("packaging", "paddle2onnx", "paddlepaddle"),
    "sklearn": ("scikit-learn", "skl2onnx"),
    "light": ("numpy", "onnx"),
}


def environment(folder: Path, packages: tuple[str, ...]) -> Path:
    """The Python of an environment with these packages, made where there is none."""
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def export(framework: str, work: Path, only: list[str]) -> str:
    """Run a framework's exporter; what went wrong, if nothing of it could be run at all."""
    place = work / "cells" / framework
    place.mkdir(parents=True, exist_ok=True)
    try:
        python = environment(work / "environments" / framework, PACKAGES[framework])
        command = [python, HERE / f"export_{framework}.py", place, *only]
        subprocess.run(command, check=True)
    except subprocess.CalledProcessError as error:
        return f"{framework}: {Path(error.cmd[1]).name} ended with {error.returncode}"
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="takes environments and cells")
    parser.add_argument("--only", nargs="*", default=[], help="cells whose name has such a word")
    parser.add_argument("--frameworks", nargs="*", default=list(PACKAGES), choices=PACKAGES)
    parser.add_argument("--keep", action="store_true", help="audit what was exported before")
    parser.add_argument("--fixtures", action="store_true", help="rewrite tests/fixtures/interop")
    arguments = parser.parse_args()
    rows: list[Row] = []
    problems = []
    for framework in arguments.frameworks:
        if not arguments.keep:
            problems.append(export(framework, arguments.work, arguments.only))
        for place in sorted((arguments.work / "cells" / framework).iterdir()):
            if not (place / "cell.json").exists():
                continue
            if arguments.only and not any(word in place.name for word in arguments.only):
                continue
            row = audited(place, read_cell(place))
            print(f"{place.name}: {row.result}", flush=True)
            rows.append(row)
            if arguments.fixtures:
                write_fixture(place, row)
    if not arguments.only and set(arguments.frameworks) == set(PACKAGES):
        write_table(rows, ROOT / "docs" / "INTEROP.md")
    failed = [f"{row.cell.source} {row.cell.network}" for row in rows if not row.passed]
    for sentence in filter(None, problems):
        print(sentence, file=sys.stderr)
    print(f"{len(rows)} cells, {len(failed)} not explained{': ' if failed else ''}"
          f"{', '.join(failed)}", file=sys.stderr)  # fmt: skip
    return 1 if failed or any(problems) else 0


if __name__ == "__main__":
    sys.exit(main())
