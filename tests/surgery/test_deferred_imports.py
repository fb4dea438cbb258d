import importlib
import sys

import pytest

from analyzer.surgery.deferred_imports import deferred


@pytest.fixture
def module(tmp_path, monkeypatch):
    """The name of a module that says when it runs."""
    (tmp_path / "late_one.py").write_text("import builtins\nbuiltins.late_one_ran = True\nx = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "late_one"
    sys.modules.pop("late_one", None)
    vars(importlib.import_module("builtins")).pop("late_one_ran", None)


def ran():
    return hasattr(importlib.import_module("builtins"), "late_one_ran")


def test_a_module_runs_when_it_is_used(module):
    with deferred(module):
        found = importlib.import_module(module)
    assert not ran()
    assert found.x == 7
    assert ran()
    assert importlib.import_module(module) is found


def test_other_modules_run_at_once(module):
    with deferred("another", "no_such_module"):
        importlib.import_module(module)
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module("no_such_module")
    assert ran()


def test_a_module_that_ran_before_stays(module):
    before = importlib.import_module(module)
    with deferred(module):
        assert importlib.import_module(module) is before


def test_behind_the_block_imports_are_as_ever(module):
    with deferred(module):
        pass
    importlib.import_module(module)
    assert ran()
