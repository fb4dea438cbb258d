"""What the packages export: each name is there and says what it is, and nothing else shows."""

import inspect
import subprocess
import sys

import pytest

import model_zoo
import tools.evidence.analysis
from analyzer import audit, data, estimation, surgery


@pytest.mark.parametrize(
    ("package", "name"),
    [(one, name) for one in (audit, estimation, surgery, model_zoo) for name in one.__all__],
)
def test_every_name_is_there_and_says_what_it_is(package, name):
    found = getattr(package, name)
    assert found is not None
    if inspect.isclass(found) or inspect.isfunction(found):
        assert inspect.getdoc(found)
        assert found.__module__.startswith(f"{package.__name__}.")


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="nothing"):
        _ = audit.nothing


@pytest.mark.parametrize("name", data.__all__)
def test_every_name_of_the_data_is_there(name):
    assert getattr(data, name) is not None


def test_a_package_shows_what_it_imports_and_no_more():
    package = tools.evidence.analysis
    shown = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert sorted(shown) == sorted(package.__all__)
    for name in package.__all__:
        assert inspect.getdoc(getattr(package, name))


def test_declaring_options_needs_neither_numpy_nor_pillow():
    code = (
        "import sys; from analyzer.data import PreprocessOptions, preprocess_options; "
        "print(sorted({'numpy', 'PIL', 'pyarrow'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
