"""Single classes, on made-up tables in which what is to be found is known."""

from types import SimpleNamespace

import numpy as np
import pytest

from tools.evidence.single_classes import class_findings
from tools.evidence.tables import Table

NETWORKS, CLASSES = 20, 8


def made_up(within: float) -> SimpleNamespace:
    """Networks whose class gaps follow ζ between networks, and by ``within`` inside each."""
    random = np.random.default_rng(0)
    names = [f"n{i}" for i in range(NETWORKS)]
    level = np.repeat(random.uniform(0.2, 0.8, NETWORKS), CLASSES)
    own = random.normal(0, 0.05, NETWORKS * CLASSES)
    noise = random.normal(0, 0.05, NETWORKS * CLASSES)
    columns = {
        "network": np.repeat(names, CLASSES),
        "zeta": level + own,
        "kappa": random.uniform(0.2, 0.4, NETWORKS * CLASSES),
        "gap": level + within * own + (1 - within) * noise,
    }
    classes = Table("made up", {name: tuple(map(str, values)) for name, values in columns.items()})
    corruption = np.where(np.arange(NETWORKS) < NETWORKS // 2, 0.0, 0.4)
    return SimpleNamespace(
        name="made-up",
        classes=classes,
        networks=Table("made up", {"name": tuple(names)}),
        column=lambda name: corruption,
    )


@pytest.mark.parametrize(("within", "least", "most"), [(1.0, 0.95, 1.0), (0.0, -0.25, 0.25)])
def test_within_networks_is_told_apart_from_across(within, least, most):
    found = class_findings(made_up(within))
    assert found.across["estimate"].r > 0.9
    assert least < found.within["estimate"].r <= most
    assert least - 0.1 < found.clean["zeta"].r <= most + 0.1
    assert abs(found.across["kappa"].r) < 0.25
    assert found.across["zeta"].networks == NETWORKS * CLASSES
