"""``onnx-gap doctor``"""

import json
import tempfile
from pathlib import Path

import click

from analyzer.cli.options import json_option
from analyzer.cli.zoo_names import entry

_TRIED = "zoo:digits-c0"


@click.command("doctor")
@json_option
def command(as_json: bool) -> int:
    """Say which versions are installed and where networks can run, and try an audit.

    Exits with 1 if the audit of a small network of the zoo does not work.

    \b
    Example:
      onnx-gap doctor
    """
    from analyzer.ablation import devices
    from analyzer.audit import installed_versions

    problem = _problem_of_an_audit()
    if as_json:
        result = {"versions": installed_versions(), "devices": devices(), "audit": problem}
        click.echo(json.dumps(result, indent=2))
    else:
        for package, version in installed_versions().items():
            click.echo(f"{package:<18} {version}")
        for device, trouble in devices().items():
            click.echo(f"{device:<18} {trouble or 'ready'}")
        click.echo(f"{'audit ' + _TRIED:<18} {problem or 'works'}")
    return 0 if problem is None else 1


def _problem_of_an_audit() -> str | None:
    """Why the audit of a network that comes along does not work; None if it does."""
    from analyzer.audit import AuditRequest, run_audit
    from analyzer.data import PreprocessOptions
    from analyzer.errors import AnalyzerError

    tried = entry(_TRIED)
    with tempfile.TemporaryDirectory() as folder:
        request = AuditRequest(
            model=tried.model,
            data=str(tried.data),
            keys=tried.keys,
            preprocess=PreprocessOptions(**tried.preprocessing),
            out=Path(folder) / "audit",
        )
        try:
            run_audit(request)
        except AnalyzerError as error:
            return str(error)
    return None
