"""What `verify` finds of changed files and values of interpolation and neighbors."""

import numpy as np
from interpolated_audits import BOTH, failed

from analyzer.audit import run_audit
from analyzer.files import read_arrays, read_json
from analyzer.measures.neighbors.votes import LAYERS
from analyzer.output_files import write_arrays, write_json


def test_verification_finds_every_change_of_the_files(asked):
    run_audit(asked)
    for name in BOTH:
        path = asked.out / f"{name}.npz"
        arrays = read_arrays(path)
        for array, values in arrays.items():
            if not values.size:  # no twins
                continue
            changed = values.copy()
            first = tuple(np.argwhere(values == values)[0])  # no NaN
            if array in ("agreement", "majority"):
                first = (LAYERS.index("two_thirds"), 0)
            changed[first] = ~values[first] if values.dtype == bool else values[first] + 1
            if array in ("nearest", "nearest_images"):
                changed[first] = 0  # the first sample itself
            write_arrays(path, {**arrays, array: changed})
            assert name in failed(asked.out), array
            write_arrays(path, arrays)
    assert failed(asked.out) == []
    samples = read_arrays(asked.out / "interpolation.npz")
    cropped = {array: values[:-1] for array, values in samples.items()}
    write_arrays(asked.out / "interpolation.npz", cropped)
    assert {"interpolation", "neighbors"} <= set(failed(asked.out))


def test_verification_finds_every_change_of_the_record(asked):
    run_audit(asked)
    path = asked.out / "audit.json"
    record = read_json(path)

    def changed(value):
        if isinstance(value, list):
            return [changed(value[0]), *value[1:]]
        return value + 1e-3 if isinstance(value, float) else value + 1

    for field in ("lambdas", "accuracy", "same", "other", "third", "hold_mean", "samples"):
        said = record["interpolation"]
        write_json(path, {**record, "interpolation": {**said, field: changed(said[field])}})
        assert failed(asked.out) == ["interpolation"], field
    said = record["neighbors"]
    for field in ("k", "samples"):
        write_json(path, {**record, "neighbors": {**said, field: said[field] + 1}})
        assert failed(asked.out) == ["neighbors"], field
    for field in ("same_bytes", "near"):
        conflicts = {**said["conflicts"], field: 1}
        write_json(path, {**record, "neighbors": {**said, "conflicts": conflicts}})
        assert failed(asked.out) == ["neighbors"], field
    for field in ("error", "trusted_error"):
        layer = {**said["layers"][2], field: None}
        layers = [*said["layers"][:2], layer, *said["layers"][3:]]
        write_json(path, {**record, "neighbors": {**said, "layers": layers}})
        assert failed(asked.out) == ["neighbors"], field
