"""``onnx-gap verify``"""

from collections.abc import Callable
from pathlib import Path

import click

from analyzer.cli.options import PATH, json_option
from analyzer.cli.requests import gap_model_path, network_path
from analyzer.cli.terminal import print_json
from analyzer.cli.zoo_names import is_zoo_name
from analyzer.errors import AnalyzerError


@click.command("verify", short_help="Check that an audit folder is whole and true.")
@click.argument("folder", type=PATH)
@click.option(
    "--model", metavar="FILE|zoo:NAME", help="The network.  [default: where the audit says it was]"
)
@click.option("--gap-model", metavar="FILE|zoo:NAME", help="The gap model.  [default: likewise]")
@json_option
def command(folder: Path, model: str | None, gap_model: str | None, as_json: bool) -> int:
    """Check that the audit in FOLDER is whole and that its numbers follow from its counts.

    Exits with 1 if a check fails. A network or gap model that is no longer where the audit
    found it is not a failure; the check is named as not made.

    \b
    Examples:
      onnx-gap verify audit
      onnx-gap verify audit --model model.onnx --gap-model zoo:digits
    """
    from analyzer.audit import read_record, verify_audit

    record = read_record(folder)
    found = verify_audit(
        folder,
        model=network_path(model) if model else _in_zoo(record.model.path, network_path),
        gap_model=gap_model_path(gap_model)
        if gap_model
        else _in_zoo(record.gap.gap_model_name if record.gap else "", gap_model_path),
    )
    if as_json:
        print_json(found.to_dict())
    else:
        for check in found.checks:
            mark = ("ok    ", "green") if check.passed else ("FAILED", "red")
            click.echo(f"{click.style(mark[0], fg=mark[1])} {check.name}: {check.sentence}")
        for sentence in found.not_checked:
            click.echo(f"       {sentence}")
    return 0 if found.passed else 1


def _in_zoo(name: str, path_of: Callable[[str], Path]) -> Path | None:
    """The file that ``zoo:NAME`` in a record means; None for other names, and where it is gone."""
    if not is_zoo_name(name):
        return None
    try:
        return path_of(name)
    except (AnalyzerError, click.UsageError):
        return None
