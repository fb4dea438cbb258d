import pytest

from analyzer import surgery
from analyzer.surgery.graph import constant, dimensions, find_value

TEXT = """
net (float[N,3,8,W] x) => (float[A,B] y)
<float[4,3,3,3] w, int64 i0 = {0}, int64 i1 = {1}, int64 i2 = {2}, int64[1] v0 = {0},
 int64[1] v1 = {1}, int64[1] v2 = {2}, int64[1] minus = {-1}, int64[1] four = {4}>
{
    c = Conv<pads=[1,1,1,1]>(x, w)
    s = Shape(c)
    BODY
    f = Reshape(c, t)
    y = Relu(f)
}
"""
SIZE = "n = Gather(s, i0) u = Unsqueeze(n, v0) "
BODIES = {
    SIZE + "t = Concat<axis=0>(u, minus)": [0, -1],
    "n = Slice(s, v0, v1) t = Concat<axis=0>(n, minus)": [0, -1],
    "n = Shape<start=0, end=1>(c) t = Concat<axis=0>(n, minus)": [0, -1],
    "n = Shape<start=0, end=2>(c) t = Concat<axis=0>(n, minus)": [0, 4, -1],
    "n = Cast<to=6>(s) m = Cast<to=7>(n) k = Slice(m, v0, v2) t = Concat<axis=0>(k, minus)": [
        0, 4, -1,
    ],
    SIZE + "t = Concat<axis=0>(minus, u)": None,  # the batch is not first
    SIZE + "d = Mul(u, four) t = Concat<axis=0>(d, minus)": None,
}  # fmt: skip


@pytest.mark.parametrize("body", BODIES)
def test_computed_reshape_target_is_settled_where_it_can_be_told(write, body):
    graph = surgery.load_network(write(TEXT.replace("BODY", body))).model.graph
    node = find_value(graph, "f").producer()
    target = constant(node.inputs[1])
    wanted = BODIES[body]
    assert (None if target is None else target.tolist()) == wanted
    if wanted is not None:
        assert dimensions(node.outputs[0])[0] == "N"
        assert "Gather" not in [n.op_type for n in graph]
