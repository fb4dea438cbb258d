"""Small audits that `verify` measures again, and what it finds of them."""

import warnings

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from analyzer import audit_network, verify_audit

CHANNELS, CLASSES, PER_CLASS = 6, 3, 6
ALONE = {"interpolation_samples": 0, "neighbor_samples": 0, "suspects": 0}


def save_network(path, nodes, weights, classes=CLASSES, more_inputs=()):
    """Save a network of images of 8 × 8 that gives ``scores``; more inputs are single numbers."""
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 8, 8])]
    inputs += [helper.make_tensor_value_info(one, TensorProto.FLOAT, [1]) for one in more_inputs]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", classes])
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, [scores], tensors)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def linear_weights():
    """Random weights of shape (pixels, classes)."""
    return np.random.default_rng(2).normal(size=(64, CLASSES)).astype(np.float32)


def audited(folder, data, model, **options):
    """An audit, by default of the ablation alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        audit_network(model, data, folder, gap_model="none", **{**ALONE, **options})
    return folder


def failed(folder, data, **options):
    found = verify_audit(folder, data=data, **{"cells": 4, "seed": 0, **options})
    return {check.name: check.sentence for check in found.checks if not check.passed}
