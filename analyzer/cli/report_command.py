"""``onnx-gap report``"""

from pathlib import Path

import click

from analyzer.cli.click_options import PATH, Command, ResultFile, exit_codes
from analyzer.cli.terminal import say, show, show_progress


@click.command(
    "report",
    cls=Command,
    short_help="Write the report of an audit folder again, or elsewhere.",
    epilog=exit_codes(),
)
@click.argument("folder", type=PATH)
@click.option(
    "--model-card",
    type=ResultFile(parents=True),
    metavar="FILE",
    help="Write a model card instead, with Hugging Face's model-index.",
)
@click.option(
    "--mlflow",
    metavar="URI|auto",
    help="Log the audit as a run of MLflow instead: at this tracking URI, or where "
    "MLFLOW_TRACKING_URI says (extra mlflow).",
)
def command(folder: Path, model_card: Path | None, mlflow: str | None) -> None:
    """Write report.html of the audit in FOLDER again, from its other files.

    The audit has finished, or a first look has stopped it. With --model-card or --mlflow, which
    need a finished one, the folder stays as it is, and its result goes there.

    \b
    Examples:
      onnx-gap report audit
      onnx-gap report audit --model-card card.md
      onnx-gap report audit --mlflow sqlite:///mlflow.db
    """
    from analyzer.audit import (
        check_model_card,
        ending_of,
        log_to_mlflow,
        refuse_to_replace,
        render_report,
        write_model_card,
    )

    if model_card is not None:
        refuse_to_replace({"model_card": model_card}, [], [folder])
        ending = ending_of(folder)
        check_model_card(model_card)
    if mlflow is not None:
        say("Sending the audit to MLflow.")
        with show_progress("lines"):
            run = log_to_mlflow(folder, mlflow)
        show(f"run {run}: logged")
    if model_card is not None:  # last: where MLflow refuses, none is left
        write_model_card(model_card, ending)
        show(f"{model_card}: written")
    if model_card is None and mlflow is None:
        show(f"{render_report(folder)}: written")
