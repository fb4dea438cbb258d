import subprocess
import sys

import pytest

from analyzer import data


@pytest.mark.parametrize("name", data.__all__)
def test_every_exported_name_is_there(name):
    assert getattr(data, name) is not None


def test_declaring_options_needs_neither_numpy_nor_pillow():
    code = (
        "import sys; from analyzer.data import PreprocessOptions, preprocess_options; "
        "print(sorted({'numpy', 'PIL', 'pyarrow'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
