import pytest

from analyzer import data


@pytest.mark.parametrize("name", data.__all__)
def test_every_exported_name_is_there(name):
    assert getattr(data, name) is not None
