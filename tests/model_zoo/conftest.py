"""A population so small that a network trains in a second."""

import shutil
from dataclasses import replace

import pytest

from model_zoo import population_training, populations, train_population


@pytest.fixture(scope="session")
def torch():
    """The module; skips the test without the extra."""
    pytest.importorskip("onnxscript", reason="training needs the extra zoo (onnxscript)")
    return pytest.importorskip("torch", reason="training needs the extra zoo (torch)")


@pytest.fixture(scope="session")
def tiny():
    """A declared population "tiny": digits with few images, channels and epochs."""
    population = replace(
        populations.POPULATIONS["digits"],
        name="tiny",
        train_samples=100,
        widths=(8, 12),
        batch_sizes=(25, 50, 100),
        epochs=6,
    )
    with pytest.MonkeyPatch.context() as patch:
        declared = {"tiny": population, "tiny-clean": _tiny_clean(population)}
        patch.setattr(population_training, "POPULATIONS", populations.POPULATIONS | declared)
        yield population


def _tiny_clean(tiny):
    """The same, designed: training sets of two sizes."""
    sizes = ({"train_samples": size, "name": f"n{size}", "late": size == 30} for size in (30, 100))
    return replace(
        tiny, name="tiny-clean", networks=2, corruptions=(0.0,), cycle=2, designed=tuple(sizes)
    )


@pytest.fixture(scope="session")
def plain_networks(torch, tiny, tmp_path_factory):
    """A folder with the plain networks of "tiny", one per corruption level; not to be changed."""
    folder = tmp_path_factory.mktemp("tiny")
    train_population("tiny", folder, limit=6)
    return folder


@pytest.fixture
def trained(plain_networks, tmp_path):
    """The same as a copy that may be changed."""
    return shutil.copytree(plain_networks, tmp_path / "trained")
