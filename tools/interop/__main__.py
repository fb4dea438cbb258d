"""Export, audit and compare every network of docs/INTEROP.md, and write that page.

    python tools/interop --work FOLDER [--frameworks NAME ...] [--resume] [--fixtures]

A *cell* is one network written by one exporter: a line of the page. FOLDER/cells holds the cells by
framework: the network, its samples, the framework's own counts, and the line that the audit gave.
FOLDER/environments has a virtual environment for each framework, with its exporter from the package
index; one that is there already is used as it is.

The section of a framework is replaced on the page as soon as its cells are done; the other sections
stay as they are. ``--resume`` takes up an interrupted run: what it exported is not exported again,
and what it audited is not audited again. All frameworks take about half an hour on two idle cores.
"""

import argparse
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from auditing import ROW, Row, audited, read_row, write_row  # noqa: E402
from cells import CELL, is_wanted, read_cell  # noqa: E402
from fixtures import write_fixture  # noqa: E402
from page import replace_sections  # noqa: E402

PAGE = ROOT / "docs" / "INTEROP.md"
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
    python, installed = folder / "bin" / "python", folder / "installed"
    if not installed.exists():  # an interrupted installation is taken up
        if not python.exists():
            venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        installed.touch()
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


def chosen(folder: Path, only: list[str]) -> list[Path]:
    """The cells of a framework that are wanted, each a folder, by name."""
    places = sorted(path.parent for path in folder.glob(f"*/{CELL}"))
    return [place for place in places if is_wanted(place.name, only)]


def row_of(place: Path, *, resume: bool) -> Row:
    """The line of a cell: as it was kept, when resuming, or by an audit."""
    if resume and (place / ROW).exists():
        return read_row(place)
    row = audited(place, read_cell(place))
    write_row(place, row)
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="takes environments and cells")
    parser.add_argument("--frameworks", nargs="*", default=list(PACKAGES), choices=PACKAGES)
    parser.add_argument(
        "--only", nargs="*", default=[],
        help="cells whose name has such a word; the page is not written",
    )  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run")
    parser.add_argument("--keep", action="store_true", help="audit what was exported before")
    parser.add_argument("--fixtures", action="store_true", help="rewrite tests/fixtures/interop")
    arguments = parser.parse_args()
    rows: list[Row] = []
    problems = []
    for framework in arguments.frameworks:
        folder = arguments.work / "cells" / framework
        if not (arguments.keep or arguments.resume):
            for place in chosen(folder, arguments.only):
                (place / CELL).unlink()
                (place / ROW).unlink(missing_ok=True)
        if not arguments.keep:
            problems.append(export(framework, arguments.work, arguments.only))
        own = []
        for place in chosen(folder, arguments.only):
            row = row_of(place, resume=arguments.resume)
            print(f"{place.name}: {row.result}", flush=True)
            own.append(row)
            if arguments.fixtures:
                write_fixture(place, row)
        rows += own
        if not arguments.only:
            replace_sections(PAGE, own)
    failed = [f"{row.cell.source} {row.cell.network}" for row in rows if not row.passed]
    for sentence in filter(None, problems):
        print(sentence, file=sys.stderr)
    print(f"{len(rows)} cells, {len(failed)} not explained{': ' if failed else ''}"
          f"{', '.join(failed)}", file=sys.stderr)  # fmt: skip
    return 1 if failed or any(problems) else 0


if __name__ == "__main__":
    sys.exit(main())
