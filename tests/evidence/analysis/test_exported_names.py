import inspect

import tools.evidence.analysis as door


def test_door_shows_what_is_imported_and_no_more():
    shown = {
        name
        for name, value in vars(door).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert sorted(shown) == sorted(door.__all__)


def test_everything_shown_says_what_it_is():
    for name in door.__all__:
        assert inspect.getdoc(getattr(door, name))
