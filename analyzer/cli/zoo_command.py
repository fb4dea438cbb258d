"""``onnx-gap zoo``"""

from pathlib import Path

import click

from analyzer.cli.terminal import progress_bars, say


@click.group("zoo")
def command() -> None:
    """Reference networks: what comes along, and how to train the populations behind it.

    \b
    Examples:
      onnx-gap zoo list
      onnx-gap zoo train digits --out digits
    """


@command.command("list")
def list_entries() -> None:
    """List what zoo:NAME can name.

    \b
    Example:
      onnx-gap zoo list
    """
    import model_zoo

    for entry in model_zoo.entries():
        click.echo(f"zoo:{entry.name:<14} {entry.kind:<10} {entry.description}")
    click.echo()
    for population in model_zoo.POPULATIONS.values():
        click.echo(
            f"{population.name:<18} population of {population.networks} networks "
            f"({population.architecture}), by `onnx-gap zoo train {population.name}`"
        )


@command.command("train")
@click.argument("name")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder that takes the networks."
)
@click.option(
    "--processes", type=click.IntRange(1), default=1, show_default=True, help="Trained at once."
)
@click.option("--limit", type=click.IntRange(1), help="Train only the first networks.")
@click.option("--samples", type=click.IntRange(1), help="Training images. [default: its own]")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the data set.")
def train(
    name: str,
    out: Path,
    processes: int,
    limit: int | None,
    samples: int | None,
    data: Path | None,
) -> None:
    """Train the population NAME: seeded, and resumable, for what is trained is kept.

    Leaves an ONNX file and a recipe a network, the training data, and manifest.csv for
    `onnx-gap population`. Needs the extra zoo (torch).

    \b
    Examples:
      onnx-gap zoo train digits --out digits
      onnx-gap zoo train fashion-vgg --limit 1 --out fashion
    """
    import model_zoo

    with progress_bars() as progress:
        model_zoo.train_population(
            name,
            out,
            processes=processes,
            limit=limit,
            samples=samples,
            data=data,
            progress=progress,
        )
    say(f"{out / 'manifest.csv'}: audit these networks with `onnx-gap population`")
