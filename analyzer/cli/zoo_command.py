"""``onnx-gap zoo``"""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzer.cli.click_options import (
    PATH,
    Command,
    WholeNumber,
    exit_codes,
    out_folder,
    progress_option,
)
from analyzer.cli.terminal import interruptible, print_table, show, show_progress

if TYPE_CHECKING:
    from model_zoo import ZooEntry


@click.group("zoo", short_help="List the reference networks, train their populations.")
def command() -> None:
    """Reference networks: what is bundled, and how to train the populations behind it.

    \b
    Examples:
      onnx-gap zoo list
      onnx-gap zoo train digits --out digits
    """


@command.command(
    "list",
    cls=Command,
    short_help="List what zoo:NAME can name, and what can be trained.",
    epilog=exit_codes(),
)
def list_entries() -> None:
    """List what zoo:NAME can name, and the populations that `onnx-gap zoo train` trains.

    \b
    Example:
      onnx-gap zoo list
    """
    import model_zoo

    print_table(
        ("name", "kind", ""),
        [(f"zoo:{entry.name}", _kind(entry), entry.description) for entry in model_zoo.entries()],
    )
    click.echo()
    print_table(
        ("population", "networks", "architecture"),
        [
            (population.name, str(population.networks), ", ".join(population.architectures))
            for population in model_zoo.POPULATIONS.values()
        ],
    )


def _kind(entry: "ZooEntry") -> str:
    """What the name stands for; a network has the gap model with it, data lend it their name."""
    return "data, gap model" if entry.kind == "data" and entry.gap_model else entry.kind


@command.command(
    "train",
    cls=Command,
    short_help="Train a population.",
    epilog=exit_codes({130: "interrupted; the same command resumes"}),
)
@click.argument("name")
@out_folder("Folder that takes the networks, their training data and the manifest.")
@click.option(
    "--processes",
    type=WholeNumber(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Networks trained at once.",
)
@click.option("--limit", type=WholeNumber(1), metavar="N", help="Train only the first networks.")
@click.option(
    "--samples",
    type=WholeNumber(1),
    metavar="N",
    help="Training images.  [default: as many as the population has]",
)
@click.option(
    "--data", type=PATH, metavar="DIR", help="Folder of the data set, if it is not bundled."
)
@click.option(
    "--float32",
    is_flag=True,
    help="Train in float32 throughout: ten times faster on a processor without bfloat16.",
)
@progress_option
def train(
    name: str,
    out: Path,
    processes: int,
    limit: int | None,
    samples: int | None,
    data: Path | None,
    float32: bool,
    shown: str,
) -> None:
    """Train the population NAME: seeded, and resumable, for what is trained is kept.

    Leaves an ONNX file and a recipe a network, the training data, and manifest.csv for
    `onnx-gap population`. Needs the extra zoo (torch): pip install 'onnx-gap[zoo]'.

    \b
    Examples:
      onnx-gap zoo train digits --out digits
      onnx-gap zoo train fashion-vgg --data fashion-mnist/ --limit 1 --out fashion
    """
    import model_zoo

    with interruptible(), show_progress(shown) as progress:
        model_zoo.train_population(
            name,
            out,
            processes=processes,
            limit=limit,
            samples=samples,
            data=data,
            float32=float32,
            progress=progress,
        )
    show(f"{out / 'manifest.csv'}: written; `onnx-gap population` audits these networks")
