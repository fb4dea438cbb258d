import pytest

from analyzer import surgery
from analyzer.surgery.graph import dominators
from analyzer.surgery.layout import trace

TEXT = """
net (float[N,3,8,8] x, float[N,2] extra) => (float[N,K] y)
<float[4,3,3,3] w, float[4,4,1,1] w1, float[4,4,1,1] w2>
{
    c = Conv(x, w)
    r = Relu(c)
    a = Conv(r, w1)
    b = Conv(r, w2)
    k = Concat<axis=1>(a, b)
    d = Add(r, a)
    p = GlobalMaxPool(k)
    f = Flatten(p)
    y = Concat<axis=1>(f, extra)
}
"""


@pytest.fixture
def graph(write):
    return lambda text=TEXT: surgery.load_network(write(text)).model.graph


def names(values):
    return [v.name for v in values]


def test_dominators_are_what_every_path_passes(graph):
    found = graph()
    flow = trace(found)
    assert names(flow.images) == ["x"]
    passed = dominators(found, flow.images, found.outputs[0])
    assert names(passed) == ["c", "r", "k", "p", "f", "y"]


def test_shape_of_the_image_is_no_path_around(graph):
    text = TEXT.replace("f = Flatten(p)", "s = Shape(x) u = Cast<to=1>(s) m = ReduceMax(u) "
                        "q = Mul(p, m) f = Flatten(q)")  # fmt: skip
    found = graph(text)
    passed = dominators(found, trace(found).images, found.outputs[0])
    assert "r" in names(passed)


def test_channels_and_nearest_convolution_are_followed(graph):
    found = graph()
    flow = trace(found)
    axes = {v.name: axis for v, axis in flow.axis.items()}
    assert axes == {**dict.fromkeys("crabkdpfy", 1)}
    nearest = {v.name: n.outputs[0].name for v, n in flow.convolution.items()}
    assert (nearest["r"], nearest["d"], nearest["k"], nearest["f"]) == ("c", "a", "b", "b")
