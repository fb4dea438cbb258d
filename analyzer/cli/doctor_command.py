"""``onnx-gap doctor``"""

import tempfile
from importlib.util import find_spec
from pathlib import Path

import click

from analyzer.cli.click_options import Command, exit_codes, json_option
from analyzer.cli.terminal import complain, print_facts, print_json, warn

_TRIED = "zoo:digits-c0"
_EXTRAS = {
    "plot": ("matplotlib",),
    "parquet": ("pyarrow",),
    "zoo": ("torch",),
    "dask": ("distributed",),
    "mlflow": ("mlflow", "sqlalchemy", "alembic"),
}


@click.command(
    "doctor",
    cls=Command,
    short_help="Show what this installation can do.",
    epilog=exit_codes({1: "the audit that it tries does not work"}),
)
@json_option
def command(as_json: bool) -> int:
    """Say what is installed and where networks can run, and try an audit.

    \b
    Examples:
      onnx-gap doctor
      onnx-gap doctor --json
    """
    from analyzer.errors import AnalyzerError

    try:
        from analyzer.audit import installed_versions
        from analyzer.runtime import installation_warning, list_devices

        versions, found = installed_versions(), list_devices()
        confusion = installation_warning()
    except AnalyzerError as error:
        complain(str(error))
        return 1
    except ImportError as error:
        complain(f"{error}. Install onnx-gap again, with what it needs.")
        return 1
    if confusion is not None:
        warn(confusion)
    problem = _problem_of_an_audit()
    extras = {name: all(map(find_spec, packages)) for name, packages in _EXTRAS.items()}
    if as_json:
        print_json({"versions": versions, "devices": found, "extras": extras, "audit": problem})
    else:
        gpus = () if len(found) > 1 else (("cuda", "no GPU was found"),)
        print_facts(
            [
                *versions.items(),
                *((device, trouble or "ready") for device, trouble in found.items()),
                *gpus,
                *(
                    (f"extra {name}", "installed" if there else f"pip install 'onnx-gap[{name}]'")
                    for name, there in extras.items()
                ),
                (f"audit of {_TRIED}", problem or "works"),
            ]
        )
    return 0 if problem is None else 1


def _problem_of_an_audit() -> str | None:
    """Why the audit of a bundled network does not work; None if it does."""
    from analyzer.audit import run_audit
    from analyzer.errors import AnalyzerError
    from analyzer.make_request import audit_request

    with tempfile.TemporaryDirectory() as folder:
        try:
            run_audit(audit_request(_TRIED, None, Path(folder) / "audit"))
        except AnalyzerError as error:
            return str(error)
    return None
