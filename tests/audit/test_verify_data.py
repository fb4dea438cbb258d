"""What `verify` finds with the data at hand, of forgeries that agree with themselves."""

import dataclasses
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from cli_commands import BUNDLED
from sealed_audits import rewrite_record

from analyzer import audit_network, verify_audit
from analyzer.audit.folder import read_record
from analyzer.audit.verify import Drawn
from analyzer.errors import AnalyzerError, DataError
from analyzer.measures.ablation.features import (
    class_quantities,
    compute_curve_features,
    network_quantities,
)
from analyzer.measures.ablation.result_files import (
    read_curves,
    read_samples,
    write_curves,
    write_samples,
)

MODEL = BUNDLED / "digits-c20.onnx"
FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def digits():
    with np.load(BUNDLED / "train.npz") as stored:
        images, labels = stored["images"], stored["labels_c20"]
    chosen = np.concatenate([np.flatnonzero(labels == j)[:5] for j in range(10)])
    return images[chosen], labels[chosen].astype(np.int64)


ALONE = {"interpolation_samples": 0, "neighbor_samples": 0, "suspects": 0}


def audited(folder, data, model=MODEL, **options):
    """An audit, by default of the ablation alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        audit_network(model, data, folder, gap_model="none", **{**ALONE, **options})
    return folder


@pytest.fixture(scope="module")
def counted(tmp_path_factory, digits):
    """An audit of the ablation alone."""
    folder = tmp_path_factory.mktemp("counted") / "audit"
    return audited(folder, digits, preprocess="none")


@pytest.fixture
def folder(counted, tmp_path):
    return shutil.copytree(counted, tmp_path / "audit")


def failed(folder, data, **options):
    found = verify_audit(folder, data=data, **{"cells": 4, "seed": 0, **options})
    return {check.name: check.sentence for check in found.checks if not check.passed}


def forge(folder, curves=None, samples=None):
    """Write other counts, and all that follows from them."""
    record = read_record(folder)
    curves = read_curves(folder) if curves is None else curves
    samples = read_samples(folder) if samples is None else samples
    write_curves(folder, curves)
    write_samples(folder, samples, record.site.channels)
    found = [class_quantities(curve, record.chance) for curve in curves]
    zeta, kappa = network_quantities(found)
    names = ("accuracy", "n0", "n0_r", "zeta", "kappa", "chance_reached", "flags")
    classes = tuple(
        dataclasses.replace(said, **{name: getattr(one, name) for name in names})
        for said, one in zip(record.classes, found, strict=True)
    )
    features = compute_curve_features(curves, samples, record.chance)
    changed = {"zeta": zeta, "kappa": kappa, "classes": classes, "features": features}
    rewrite_record(folder, dataclasses.replace(record, **changed))
    assert verify_audit(folder).passed  # without the data, nothing is to be seen


def test_an_honest_audit_passes_and_every_cell_is_what_the_plain_way_gives(folder, digits):
    found = verify_audit(folder, data=digits, cells="all")
    assert [check for check in found.checks if not check.passed] == []
    assert found.drawn.cells == found.drawn.all_cells == 2 * 10 * 49
    assert found.drawn.samples == found.drawn.all_samples == 50
    assert found.drawn.passes == {"one cell": 0.0, "1%": 0.0, "10%": 0.0}
    value = found.to_dict()
    assert json.loads(json.dumps(value, allow_nan=False)) == value


def test_how_much_was_drawn_is_told_with_the_chance_that_a_forgery_passes(folder, digits):
    drawn = verify_audit(folder, data=digits, cells=8, seed=3).drawn
    assert (drawn.seed, drawn.cells, drawn.all_cells, drawn.samples) == (3, 8, 980, 5)
    assert drawn.passes["one cell"] == pytest.approx(1 - 8 / 980)
    assert drawn.passes["10%"] == pytest.approx(0.9**8)
    assert "8 of 980 cells" in drawn.sentence
    again = verify_audit(folder, data=digits, cells=8).drawn
    assert again.seed != verify_audit(folder, data=digits, cells=8).drawn.seed


def test_the_chance_is_what_drawing_shows():
    forged, cells, drawn = 98, 980, 12
    random = np.random.default_rng(0)
    met = [(random.choice(cells, drawn, replace=False) < forged).any() for _ in range(4000)]
    told = Drawn(0, drawn, cells, 1, 1).passes["10%"]
    assert 1 - np.mean(met) <= told + 0.02
    assert 1 - np.mean(met) == pytest.approx(told, abs=0.03)


def test_a_forged_cell_is_found_where_it_is_drawn(folder, digits):
    curves, samples = read_curves(folder), read_samples(folder)
    descending, hits = curves[3].descending.copy(), samples.descending.copy()
    n = int(np.flatnonzero(descending > 0)[-1])
    descending[n] -= 1
    hits[np.flatnonzero((samples.label == 3) & (hits > 0))[0]] -= 1
    curves = (*curves[:3], dataclasses.replace(curves[3], descending=descending), *curves[4:])
    forge(folder, curves, dataclasses.replace(samples, descending=hits))
    found = failed(folder, digits, cells="all")
    assert set(found) == {"curves counted again", "samples counted again"}
    assert found["curves counted again"].startswith(f"Of class 3 {descending[n]} samples are right")


def test_curves_that_are_another_networks_are_found_by_few_cells(folder, digits):
    """All curves flat: half of the cells at least are wrong."""
    curves, samples = read_curves(folder), read_samples(folder)
    flat = []
    for curve in curves:
        hold = np.full_like(curve.descending, curve.descending[0])
        hold[-1] = curve.descending[-1]
        flat.append(dataclasses.replace(curve, descending=hold, ascending=hold))
    steps = len(curves[0].descending)
    hits = np.where(samples.correct, steps - 1, 0)
    for curve in flat:
        own = np.flatnonzero(samples.label == curve.class_index)
        hits[own[: curve.descending[-1]]] += 1
    forge(folder, flat, dataclasses.replace(samples, descending=hits, ascending=hits))
    assert "curves counted again" in failed(folder, digits, cells=12)


def test_a_forged_order_is_found(folder, digits):
    curves = read_curves(folder)
    order = curves[0].order.copy()
    order[[0, 20]] = order[[20, 0]]
    forge(folder, (dataclasses.replace(curves[0], order=order), *curves[1:]))
    assert failed(folder, digits)["order worked out again"] == (
        "The units of class 0 are not in the order of l1 in curves.npz."
    )


def test_counts_moved_from_one_sample_to_another_are_found(folder, digits):
    samples = read_samples(folder)
    hits = samples.ascending.copy()
    one, other = np.flatnonzero(samples.label == 6)[:2]
    hits[one], hits[other] = hits[one] - 1, hits[other] + 1
    forge(folder, samples=dataclasses.replace(samples, ascending=hits))
    found = failed(folder, digits, cells="all")
    assert list(found) == ["samples counted again"]
    assert "'ascending' of sample" in found["samples counted again"]


@pytest.mark.parametrize(("name", "by"), [("log_probability", -1.0), ("margin", 2.0), ("other", 0)])
def test_a_forged_score_of_a_sample_is_found(folder, digits, name, by):
    samples = read_samples(folder)
    place = int(np.flatnonzero(samples.correct)[0])
    values = getattr(samples.scores, name).copy()
    values[place] = values[place] + by if by else (samples.label[place] + 1) % 10
    if name == "other" and values[place] == getattr(samples.scores, name)[place]:
        values[place] = (samples.label[place] + 2) % 10
    scores = dataclasses.replace(samples.scores, **{name: values})
    forge(folder, samples=dataclasses.replace(samples, scores=scores))
    assert f"'{name}' of sample" in failed(folder, digits)["samples run again"]


def test_other_data_are_found(folder, digits):
    images, labels = digits
    other = images.copy()
    other[7] = 255 - other[7]
    found = failed(folder, (other, labels))
    assert found["data read again"].startswith("The samples have SHA-256")
    swapped = labels.copy()
    swapped[[0, -1]] = swapped[[-1, 0]]
    assert "data read again" in failed(folder, (images, swapped))
    assert "data read again" in failed(folder, (images[:-1], labels[:-1]))


@pytest.mark.parametrize(
    ("field", "value", "refused"),
    [
        ("mean", [99.0], False),
        ("channels", "cmyk", True),
        ("dtype", "int8", True),
        ("shape", [1, 9, 9], True),
        ("std", [0.0], True),
        ("crop", {"size": [0, 8], "rounding": "down", "fill": [0]}, True),
    ],
)
def test_another_preprocessing_is_found(folder, digits, field, value, refused):
    record = read_record(folder)
    said = {**record.data.preprocessing, field: value}
    data = dataclasses.replace(record.data, preprocessing=said)
    rewrite_record(folder, dataclasses.replace(record, data=data))
    if refused:
        with pytest.raises(DataError, match=r"data\.preprocessing"):
            verify_audit(folder, data=digits)
    else:
        assert "samples run again" in failed(folder, digits)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", "x"), ("limit_per_class", [1]), ("inputs", [1]), ("memory", None)]
)
def test_settings_that_no_audit_has_are_refused(folder, digits, name, value):
    record = read_record(folder)
    settings = {**record.settings, name: value}
    rewrite_record(folder, dataclasses.replace(record, settings=settings))
    with pytest.raises(AnalyzerError, match=f"settings.{name}"):
        verify_audit(folder, data=digits)


def test_a_library_that_the_record_names_is_not_loaded(folder, digits):
    record = read_record(folder)
    settings = {**record.settings, "custom_ops": "/nowhere/library.so"}
    rewrite_record(folder, dataclasses.replace(record, settings=settings))
    assert failed(folder, digits) == {}


def test_a_wrong_site_of_the_cut_is_found(folder, digits):
    record = read_record(folder)
    rewrite_record(
        folder, dataclasses.replace(record, site=dataclasses.replace(record.site, cut="elsewhere"))
    )
    assert list(failed(folder, digits)) == ["cut"]


def test_nothing_is_measured_of_a_folder_that_is_wrong_already(folder, digits):
    rewrite_record(folder, dataclasses.replace(read_record(folder), zeta=0.1))
    found = verify_audit(folder, data=digits)
    assert not found.passed
    assert found.drawn is None
    assert "Nothing was measured again" in found.not_checked[-1]


def test_estimated_counts_are_not_counted_again(tmp_path, digits):
    audited(tmp_path, digits, preprocess="none", tolerance=0.02)
    found = verify_audit(tmp_path, data=digits)
    assert found.passed
    assert found.drawn is None
    assert "to a tolerance of 0.02" in found.not_checked[-1]


@pytest.mark.parametrize("rank", ["selectivity", "random"])
def test_other_orders_are_worked_out_again(tmp_path, digits, rank):
    audited(tmp_path, digits, preprocess="none", rank=rank)
    assert failed(tmp_path, digits) == {}
    record = read_record(tmp_path)
    rewrite_record(
        tmp_path, dataclasses.replace(record, settings={**record.settings, "rank": "l1"})
    )
    assert list(failed(tmp_path, digits)) == ["order worked out again"]


def test_a_network_fixed_to_a_batch_is_counted_again(tmp_path):
    random = np.random.default_rng(0)
    images = random.normal(size=(10, 3, 32, 32)).astype(np.float32)
    labels = np.arange(10) % 2
    model = FIXTURES / "vgg16-dynamo-fixed.onnx"
    audited(tmp_path, (images, labels), model, anyway=True)
    assert failed(tmp_path, (images, labels), cells=10) == {}


@pytest.fixture(scope="module")
def everything(tmp_path_factory, digits):
    """An audit with every measure and a list of suspects with pictures."""
    folder = tmp_path_factory.mktemp("everything") / "audit"
    every = {"interpolation_samples": None, "neighbor_samples": None, "suspects": None}
    return audited(folder, digits, preprocess="none", margins=True, **every)


def test_every_measure_is_measured_again(everything, digits, tmp_path):
    found = verify_audit(everything, data=digits, cells=2)
    assert [check for check in found.checks if not check.passed] == []
    names = {check.name for check in found.checks}
    assert {f"{name} measured again" for name in ("margins", "interpolation", "neighbors")} <= names
    folder = shutil.copytree(everything, tmp_path / "audit")
    record = read_record(folder)
    sections = {**record.sections}
    for name in ("margins", "neighbors"):
        layers = sections[name].layers
        other = dataclasses.replace(layers[1], tensor="elsewhere")
        sections[name] = dataclasses.replace(sections[name], layers=(layers[0], other, *layers[2:]))
    settings = {**record.settings, "seed": 1}
    rewrite_record(folder, dataclasses.replace(record, sections=sections, settings=settings))
    assert set(failed(folder, digits)) == {
        f"{name} measured again" for name in ("margins", "interpolation", "neighbors")
    }


def test_another_picture_of_a_suspect_is_found(everything, digits, tmp_path):
    from analyzer.files import read_arrays, write_arrays

    folder = shutil.copytree(everything, tmp_path / "audit")
    arrays = read_arrays(folder / "thumbnails.npz")
    first, second = list(arrays)[:2]
    arrays[first] = arrays[second]
    write_arrays(folder / "thumbnails.npz", arrays, compressed=False)
    rewrite_record(folder, read_record(folder))
    assert list(failed(folder, digits)) == ["pictures"]


def test_another_name_of_a_class_or_a_suspect_is_found(everything, digits, tmp_path):
    folder = shutil.copytree(everything, tmp_path / "audit")
    table = folder / "suspects.csv"
    lines = table.read_text(encoding="utf-8").splitlines()
    cells = lines[1].split(",")
    cells[1] = "somebody"
    table.write_text("\n".join([lines[0], ",".join(cells), *lines[2:], ""]), encoding="utf-8")
    rewrite_record(folder, read_record(folder))
    assert "is called 'somebody'" in failed(folder, digits)["names"]


def test_options_of_another_name_are_refused(folder, digits):
    with pytest.raises(TypeError, match="There is no option 'limit'"):
        verify_audit(folder, data=digits, limit=3)
