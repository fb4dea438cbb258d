import numpy as np
import pytest

from analyzer.data import read_value
from analyzer.errors import DataError


def test_a_number_is_a_scalar():
    assert read_value("1e-3") == np.asarray(0.001)
    assert read_value("-2").shape == ()


def test_an_array_file_is_read(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(read_value(str(tmp_path / "a.npy")), [[0, 1, 2], [3, 4, 5]])


def test_anything_else_is_refused_by_name(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.npy"):
        read_value("nothing.npy")
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(DataError, match=r"text\.npy"):
        read_value(str(tmp_path / "text.npy"))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(DataError, match=r"objects\.npy"):
        read_value(str(tmp_path / "objects.npy"))
    np.savez(tmp_path / "several.npz", a=1)
    with pytest.raises(DataError, match="holds no array"):
        read_value(str(tmp_path / "several.npz"))
