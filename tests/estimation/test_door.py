import inspect

import pytest

import analyzer.estimation
import analyzer.estimation.analysis

DOORS = [analyzer.estimation, analyzer.estimation.analysis]


@pytest.mark.parametrize("door", DOORS)
def test_door_shows_what_is_imported_and_no_more(door):
    shown = {
        name
        for name, value in vars(door).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert sorted(shown) == sorted(door.__all__)


@pytest.mark.parametrize("door", DOORS)
def test_everything_shown_says_what_it_is(door):
    for name in door.__all__:
        assert inspect.getdoc(getattr(door, name))
