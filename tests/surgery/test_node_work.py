"""What a node asks of the processor follows from the sizes of its tensors."""

import onnx_ir as ir
import pytest

from analyzer.input_budgets import Budgets
from analyzer.surgery import node_work


def node_of(kind, inputs, output, domain="", **attributes):
    values = [ir.Value(name=f"v{i}", shape=ir.Shape(shape)) for i, shape in enumerate(inputs)]
    made = ir.Value(name="z", shape=ir.Shape(output))
    attrs = [ir.convenience.convert_attribute(name, v) for name, v in attributes.items()]
    return ir.Node(domain, kind, values, attrs, outputs=[made])


def sizes(value):
    return () if value is None else tuple(d if isinstance(d, int) else 1 for d in value.shape)


@pytest.mark.parametrize(
    ("node", "products"),
    [
        (node_of("Conv", [("N", 3, 8, 8), (4, 3, 3, 3)], ("N", 4, 8, 8)), 4 * 64 * 27),
        (node_of("ConvTranspose", [("N", 3, 8, 8), (3, 4, 2, 2)], ("N", 4, 1, 1)), 3 * 64 * 16),
        (node_of("MatMul", [("N", 50, 8), (8, 9)], ("N", 50, 9)), 50 * 8 * 9),
        (node_of("MatMul", [(5, 1, 4, 2), (1, 6, 2, 3)], (5, 6, 4, 3)), 5 * 6 * 4 * 2 * 3),
        (node_of("MatMul", [(4, 2), (2, 3)], ("a", "b")), 4 * 2 * 3),
        (node_of("Gemm", [(8, 2), (9, 8)], (2, 9), transA=1, transB=1), 2 * 8 * 9),
        (node_of("Einsum", [(2, 3), (3, 4), (4, 5)], (2, 5), equation="ab,bc,cd->ad"), 24 + 40),
        (node_of("Einsum", [(7, 2, 3), (7, 3, 4)], (7, 2, 4), equation="...ab,...bc"), 7 * 24),
        (node_of("LSTM", [(10, "N", 4), (1, 8, 4), (1, 8, 2)], (1, "N", 2)), 10 * (32 + 16)),
        (node_of("Attention", [("N", 50, 8)] * 3, ("N", 50, 8)), 50 * 50 * (2 * 8 + 64)),
        (
            node_of("Attention", [("N", 50, 8), (8, 24)], ("N", 50, 8), "com.microsoft"),
            50 * 8 * 24 + 50 * 50 * (2 * 8 + 64),
        ),
        (node_of("Relu", [(4, 5)], (4, 5)), 0),
    ],
)
def test_products_are_counted_by_their_factors(node, products):
    tensors = [*node.outputs, *node.inputs]
    elements = sum(node_work.work_of(node_of("Constant", [], sizes(v)), sizes) for v in tensors)
    assert node_work.work_of(node, sizes) == products + elements // (4 if products else 1)


def test_products_that_are_slow_count_more():
    fast, slow = (node_of("MatMul", [(50, 80), (80, 90)], (50, 90)) for _ in range(2))
    slow.outputs[0].dtype = ir.DataType.INT64
    added = node_work.work_of(slow, sizes) - node_work.work_of(fast, sizes)
    assert added == 31 * 50 * 80 * 90
    shapes = [("N", 8, 9, 9), (8, 1, 3, 3)], ("N", 8, 7, 7)
    grouped = node_of("Conv", *shapes, group=8)
    added = node_work.work_of(grouped, sizes) - node_work.work_of(node_of("Conv", *shapes), sizes)
    assert added == 15 * 8 * 49 * 9


def test_an_equation_with_a_large_tensor_between_its_operands():
    square = [(10, 10)] * 3
    kept = node_of("Einsum", [*square, (1, 10)], (), equation="ab,bc,ca,db->")
    summed = node_of("Einsum", square, (), equation="ab,cb,ac->")
    assert node_work.hidden_elements(kept, sizes) == 1000
    assert node_work.hidden_elements(summed, sizes) == 100


@pytest.mark.parametrize(
    ("node", "elements"),
    [
        (node_of("Conv", [("N", 3, 9, 9), (4, 3, 5, 5)], ("N", 4, 5, 5)), 16 * 25),
        (node_of("Conv", [("N", 3, 9), (4, 3, 5)], ("N", 4, 5)), 20),
        (node_of("LRN", [("N", 3, 9, 9)], ("N", 3, 9, 9), size=1000), 1003 * 81),
        (node_of("ConvTranspose", [("N", 3, 9, 9), (3, 4, 5, 5)], ("N", 4, 13, 13)), 100 * 81),
        (node_of("ConvInteger", [("N", 16, 9, 9), (4, 16, 5, 5)], ("N", 4, 5, 5)), 100 * 25),
        (
            node_of(
                "QLinearConv",
                [("N", 4, 9, 9), (), (), (4, 1, 5, 5), (), (), (), ()],
                ("N", 4, 5, 5),
                group=4,
            ),
            50 * 25,  # pointers of 8 bytes
        ),
        (
            node_of("DeformConv", [("N", 2, 9, 9), (4, 2, 5, 5), ("N", 50, 5, 5)], ("N", 4, 5, 5)),
            (50 + 200) * 25,
        ),
    ],
)
def test_what_convolutions_lay_out(node, elements):
    """As the memory that onnxruntime 1.31 takes beside inputs and outputs."""
    assert node_work.hidden_elements(node, sizes) == elements


@pytest.mark.parametrize(
    ("kind", "image", "amount"),
    [
        ("a ViT-H at 224 pixels", [(257, 1280, 5120)] * 64 + [(257, 1280, 1280)] * 128, 1.7e11),
        (
            "InternViT-6B at 448 pixels",
            [(1025, 3200, 12800)] * 90 + [(1025, 3200, 3200)] * 180,
            5.7e12,
        ),
    ],
)
def test_large_classifiers_are_within_the_budget(kind, image, amount):
    work = sum(
        node_work.work_of(
            node_of("MatMul", [("N", rows, inner), (inner, out)], ("N", rows, out)), sizes
        )
        for rows, inner, out in image
    )
    assert amount < work < 1.5 * amount, kind
    assert 2 * work < Budgets().operations
