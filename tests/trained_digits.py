"""Bundled networks put into a folder as training leaves them."""

import shutil
from pathlib import Path

from cli_commands import BUNDLED

from analyzer.files import sha256
from model_zoo import POPULATIONS
from model_zoo.population_training import TRAIN_DATA, Result, write_manifest, write_result
from model_zoo.recipes import recipes


def trained_digits(folder: Path) -> list[Result]:
    """Those of clean labels and of 40 % corrupted ones, with their data and manifest."""
    shutil.copy(BUNDLED / "train.npz", folder / TRAIN_DATA)
    results = []
    for recipe in recipes(POPULATIONS["digits"])[:3:2]:
        level = f"digits-{recipe.name.split('-')[1]}"
        model = shutil.copy(BUNDLED / f"{level}.onnx", folder / f"{recipe.name}.onnx")
        result = Result(
            recipe=recipe,
            conditions={"population": "digits", "train_samples": recipe.train_samples},
            sha256=sha256(model),
            train_accuracy=1.0,
            test_accuracy=0.7,
            epochs=10,
            reached=True,
            seconds=1.0,
            versions={},
        )
        write_result(folder, result)
        results.append(result)
    write_manifest(folder, results)
    return results
