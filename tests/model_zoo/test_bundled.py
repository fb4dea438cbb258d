import hashlib
import json
from dataclasses import asdict

import numpy as np
import pytest

import model_zoo
from analyzer import estimation
from analyzer.errors import AnalyzerError
from model_zoo import bundled

LEVELS = (0, 20, 40, 60, 80, 100)
NETWORKS = [f"digits-c{level}" for level in LEVELS]


def test_entries_name_the_digits_bundle():
    by_name = {entry.name: entry for entry in model_zoo.entries()}
    assert {"digits", *NETWORKS} <= set(by_name)
    for name in NETWORKS:
        entry = by_name[name]
        assert entry.kind == "network"
        assert entry.model.is_file()
        assert entry.data.is_file()
        assert entry.keys == ("images", f"labels_{name.removeprefix('digits-')}")
        assert entry.description
    assert by_name["digits"].kind == "data"
    assert by_name["digits"].model is None
    assert by_name["digits"].keys == ("images", "labels_c0")


def test_find_gives_the_entry():
    assert model_zoo.find("digits-c40").name == "digits-c40"


@pytest.mark.parametrize(("wrong", "near"), [("digits-c41", "digits-c40"), ("digit", "digits")])
def test_find_unknown_name_tells_near_ones(wrong, near):
    with pytest.raises(AnalyzerError, match=f"no '{wrong}'.*{near}"):
        model_zoo.find(wrong)


def test_find_name_like_no_other_tells_all():
    with pytest.raises(AnalyzerError, match=r"digits-c0, .*digits-c100"):
        model_zoo.find("???")


def test_bundled_files_are_what_the_index_says():
    for index in bundled.BUNDLED.glob("*/bundle.json"):
        content = json.loads(index.read_text())
        for item in [content["data"], *content["networks"]]:
            stored = (index.parent / item["file"]).read_bytes()
            assert hashlib.sha256(stored).hexdigest() == item["sha256"], item["file"]


def test_bundles_are_small():
    files = [file for folder in bundled.BUNDLED.iterdir() for file in folder.iterdir()]
    assert sum(file.stat().st_size for file in files) < 15_000_000


def test_bundled_files_tell_nothing_of_the_machine_they_were_made_on():
    for file in bundled.BUNDLED.glob("*/*.onnx"):
        content = file.read_bytes()
        for mark in (b"stack_trace", b"site-packages", b".py", b"/home/", b"/tmp/"):
            assert mark not in content, (file.name, mark)


def test_labels_are_corrupted_as_named():
    with np.load(model_zoo.find("digits").data) as stored:
        clean = stored["labels_c0"]
        assert stored["images"].shape == (len(clean), 8, 8)
        assert stored["images"].dtype == np.uint8
        for level in LEVELS:
            changed = np.mean(stored[f"labels_c{level}"] != clean)
            assert changed == pytest.approx(0.9 * level / 100, abs=0.04)


@pytest.mark.parametrize("name", NETWORKS)
def test_network_knows_the_labels_it_was_trained_on(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    entry = model_zoo.find(name)
    index = json.loads((entry.model.parent / "bundle.json").read_text())
    (network,) = (item for item in index["networks"] if item["name"] == name)
    with np.load(entry.data) as stored:
        images, labels = (stored[key] for key in entry.keys)
    options = entry.preprocessing
    shown = (images[:, None] * np.float32(options["scale"]) - options["mean"]) / options["std"]
    session = onnxruntime.InferenceSession(entry.model, providers=["CPUExecutionProvider"])
    (scores,) = session.run(None, {session.get_inputs()[0].name: shown.astype(np.float32)})
    accuracy = np.mean(scores.argmax(1) == labels)
    assert accuracy == pytest.approx(network["train_accuracy"], abs=0.002)
    assert accuracy >= 0.97


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in bundled.BUNDLED.glob("*/fit.json"))
)
def test_the_gap_model_and_its_scores_are_those_of_the_table(folder, tmp_path):
    population = estimation.read_population(folder / "population.csv")
    shipped = estimation.read_gap_model(folder / bundled.GAP_MODEL)
    again = estimation.fit_population(
        population,
        name=shipped.name,
        data=shipped.fitted_on.data,
        architecture=shipped.fitted_on.architecture,
        features="paper" if shipped.features == ("zeta", "kappa") else "extended",
    )
    assert again.coefficients == pytest.approx(shipped.coefficients)
    assert again.intercept == pytest.approx(shipped.intercept)
    known = population.with_gap()
    scores = estimation.fit_scores(known.columns, known.gap).to_dict()
    written = json.loads((folder / "fit.json").read_text())
    assert written["sha256"] == shipped.sha256
    assert written["coverage"] == asdict(shipped.coverage)
    assert again.coverage == shipped.coverage
    for name in ("zeta_r", "kappa_r"):
        assert written[name] == pytest.approx(scores[name])
    for name in ("fit_r", "out_of_fold_r", "split_ssr"):
        assert written["both"][name] == pytest.approx(scores["both"][name])
