"""Networks that are refused whatever is asked of them."""

import pytest

from analyzer import surgery
from analyzer.errors import ModelError

TEXT = """
net (float[N,3,8,8] x) => (float[N,4] y)
<float[4,3,3,3] w, float[4] g, float[4] b, float[4] m, float[4] var, float half = {0.5},
 float none = {0}, bool yes = {1}, bool no = {0}>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    NORM
    r = Relu(n)
    DROPOUT
    p = GlobalAveragePool(d)
    y = Flatten(p)
}
"""
NORM = "n = BatchNormalization(c, g, b, m, var)"
DROPOUT = "d = Dropout(r)"


def network(write, norm=NORM, dropout=DROPOUT, **options):
    return surgery.load_network(
        write(TEXT.replace("NORM", norm).replace("DROPOUT", dropout), **options)
    )


@pytest.mark.parametrize("inputs", ["r", "r, half", "r, half, no", "r, none, yes"])
def test_dropout_at_inference_is_accepted(write, inputs):
    found = network(write, dropout=f"d = Dropout({inputs})")
    assert surgery.default_site(found).operator == "Relu"


def test_dropout_in_training_mode_is_refused_by_name(write):
    with pytest.raises(ModelError, match=r"training mode: its Dropout 'drop'.*model\.eval\(\)"):
        network(write, dropout="[drop] d = Dropout(r, half, yes)")


def test_batch_norm_in_training_mode_is_refused(write):
    norm = "n, m2, v2 = BatchNormalization<training_mode=1>(c, g, b, m, var)"
    with pytest.raises(ModelError, match="training mode: its BatchNormalization"):
        network(write, norm=norm)


def test_batch_norm_in_training_mode_of_old_opsets_is_refused(write):
    norm = "n, m2, v2, m3, v3 = BatchNormalization(c, g, b, m, var)"
    with pytest.raises(ModelError, match="training mode: its BatchNormalization"):
        network(write, norm=norm, opset=11)


CUSTOM = """
<ir_version: 8, opset_import: ["" : 17, "my.ops" : 1]>
net (float[N,3,8,8] x) => (float[N,3] y)
{
    r = my.ops.Warp(x)
    p = GlobalAveragePool(r)
    y = Flatten(p)
}
"""


@pytest.fixture
def custom(tmp_path):
    import onnx

    path = tmp_path / "custom.onnx"
    onnx.save(onnx.parser.parse_model(CUSTOM), path)
    return path


def test_custom_operator_is_refused_by_name(custom):
    with pytest.raises(ModelError, match=r"operator Warp of the domain 'my\.ops'.*custom_ops"):
        surgery.load_network(custom)


def test_custom_operator_is_taken_as_it_is_with_its_library(custom, tmp_path):
    library = tmp_path / "ops.so"
    with pytest.raises(ModelError, match=r"ops\.so does not exist"):
        surgery.load_network(custom, custom_ops=library)
    library.write_bytes(b"no library")
    assert surgery.load_network(custom, custom_ops=library).custom_ops == library


def test_library_that_cannot_be_loaded_is_named(custom, tmp_path):
    from analyzer.runtime import open_session

    library = tmp_path / "ops.so"
    library.write_bytes(b"no library")
    with pytest.raises(ModelError, match=r"cannot load the custom operators in .*ops\.so"):
        open_session(custom, "cpu", custom_ops=library)


def test_networks_that_draw_random_numbers_are_refused(write):
    text = """
        noisy (float[N,3,8,8] x) => (float[N,4] y) <float[4,3,3,3] w> {
            c = Conv(x, w)
            r = Relu(c)
            n = RandomNormalLike(r)
            s = Add(r, n)
            p = GlobalAveragePool(s)
            y = Flatten(p)
        }"""
    with pytest.raises(ModelError, match=r"draws random numbers \(RandomNormalLike\)"):
        surgery.load_network(write(text))
    surgery.load_network(write(text.replace("Add(r, n)", "Add(r, r)")))
