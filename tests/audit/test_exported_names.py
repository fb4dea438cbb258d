import pytest

from analyzer import audit


@pytest.mark.parametrize("name", audit.__all__)
def test_every_exported_name_is_there(name):
    assert getattr(audit, name).__module__.startswith("analyzer.audit.")


def test_other_names_are_not():
    with pytest.raises(AttributeError, match="nothing"):
        _ = audit.nothing
