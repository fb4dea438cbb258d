import csv
import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from analyzer.errors import AnalyzerError
from model_zoo import POPULATIONS, population_training, train_population
from model_zoo.recipes import recipes


def rows(folder):
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_train_population_writes_networks_data_and_manifest(trained, tiny):
    table = rows(trained)
    levels = ("c0", "c20", "c40", "c60", "c80", "c100")
    assert [row["name"] for row in table] == [f"tiny-{level}-00" for level in levels]
    assert [row["keys"] for row in table] == [f"images,labels_{level}" for level in levels]
    for row, recipe in zip(table, recipes(tiny)[:6], strict=True):
        assert (trained / row["model"]).is_file()
        assert (trained / row["train_data"]).is_file()
        assert 0 <= float(row["test_accuracy"]) <= 1
        assert float(row["corruption"]) == recipe.corruption
        assert int(row["width"]) == recipe.width
    left = {path.suffix for path in trained.iterdir()}
    assert left == {".onnx", ".json", ".npz", ".csv"}
    assert not list(trained.glob(".*"))


def test_the_clean_labels_are_kept_whatever_the_levels():
    population = POPULATIONS["digits-labels"]
    arrays = population_training.population_data(population).arrays()
    keys = ["labels_c0", "labels_c1", "labels_c2", "labels_c5", "labels_c10", "labels_c20"]
    assert list(arrays) == ["images", *keys]
    wrong = [np.mean(arrays[key] != arrays["labels_c0"]) for key in keys]
    # A label that is drawn again may stay what it was: one in ten does.
    assert wrong == pytest.approx([0, 0.009, 0.018, 0.045, 0.09, 0.18], abs=0.02)


def test_networks_of_one_population_can_have_training_sets_of_different_sizes(
    torch, tiny, tmp_path
):
    train_population("tiny-clean", tmp_path, limit=1)
    first = (tmp_path / "tiny-clean-n30.onnx").read_bytes()
    train_population("tiny-clean", tmp_path)
    assert (tmp_path / "tiny-clean-n30.onnx").read_bytes() == first
    table = rows(tmp_path)
    assert [row["keys"] for row in table] == ["images_n30,labels_c0_n30", "images,labels_c0"]
    assert [int(row["train_samples"]) for row in table] == [30, 100]
    with np.load(tmp_path / "train.npz") as stored:
        for row in table:
            images, labels = (stored[key] for key in row["keys"].split(","))
            assert len(images) == len(labels) == int(row["train_samples"])
            assert len(set(labels.tolist())) == 10


def test_the_sizes_of_a_design_stay_as_they_are(torch, tiny, tmp_path):
    with pytest.raises(AnalyzerError, match="--samples is 50"):
        train_population("tiny-clean", tmp_path, samples=50)


def test_confusable_labels_are_kept_beside_the_clean_ones():
    arrays = population_training.population_data(POPULATIONS["digits-confusable"]).arrays()
    wrong = [np.sum(arrays[key] != arrays["labels_c0"]) for key in arrays if key != "images"]
    assert wrong == [0, 13, 26, 65, 130, 260]


def test_float32_is_a_condition_of_its_own(torch, tiny, tmp_path, monkeypatch):
    fast = replace(tiny, cycle=3, bfloat16=True)
    monkeypatch.setattr(population_training, "POPULATIONS", {"tiny": fast})
    train_population("tiny", tmp_path, limit=1, float32=True)
    record = json.loads((tmp_path / "tiny-c0-00.json").read_text())
    assert record["conditions"]["bfloat16"] is False
    with pytest.raises(AnalyzerError, match="trained otherwise"):
        train_population("tiny", tmp_path, limit=1)


def test_manifest_accuracy_is_that_of_the_file(trained):
    onnxruntime = pytest.importorskip("onnxruntime")
    row = rows(trained)[1]
    with np.load(trained / row["train_data"]) as stored:
        images, labels = (stored[key] for key in row["keys"].split(","))
    session = onnxruntime.InferenceSession(trained / row["model"])
    (scores,) = session.run(None, {"image": images[:, None].astype(np.float32) / 255})
    accuracy = np.mean(scores.argmax(1) == labels)
    assert accuracy == pytest.approx(float(row["train_accuracy"]), abs=1e-6)


def test_resumed_run_trains_only_what_is_missing_and_gives_the_same_bytes(trained, tiny):
    first, second = (trained / f"tiny-{level}-00.onnx" for level in ("c0", "c20"))
    before, kept = second.read_bytes(), first.stat().st_mtime_ns
    second.unlink()
    told = []
    train_population("tiny", trained, limit=2, progress=lambda *step: told.append(step))
    assert told == [("train", 1, 2), ("train", 2, 2)]
    assert second.read_bytes() == before
    assert first.stat().st_mtime_ns == kept
    assert len(rows(trained)) == 6  # those beyond the limit as well


def test_damaged_network_is_trained_again(trained):
    network = trained / "tiny-c0-00.onnx"
    before = network.read_bytes()
    network.write_bytes(before[:100])
    train_population("tiny", trained, limit=2)
    assert network.read_bytes() == before


def test_processes_do_not_change_the_result(plain_networks, tmp_path):
    train_population("tiny", tmp_path, limit=2, processes=2)
    for name in ("tiny-c0-00.onnx", "tiny-c20-00.onnx", "train.npz"):
        assert (tmp_path / name).read_bytes() == (plain_networks / name).read_bytes()


def test_other_settings_in_the_same_folder_are_refused(trained):
    with pytest.raises(AnalyzerError, match="other training data"):
        train_population("tiny", trained, limit=2, samples=90)


def test_other_recipe_in_the_same_folder_is_refused(trained):
    record = trained / "tiny-c0-00.json"
    content = json.loads(record.read_text())
    content["recipe"]["momentum"] = 0.5
    record.write_text(json.dumps(content))
    with pytest.raises(AnalyzerError, match="trained otherwise"):
        train_population("tiny", trained, limit=2)


def test_record_that_is_not_ours_is_refused(trained):
    (trained / "tiny-c0-00.json").write_text("[]")
    with pytest.raises(AnalyzerError, match="remove it to train"):
        train_population("tiny", trained, limit=2)


def test_exported_file_has_a_free_batch_axis_and_no_origin(trained):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(trained / "tiny-c0-00.onnx")
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("Conv") == 4
    assert "Dropout" not in operators
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    content = (trained / "tiny-c0-00.onnx").read_bytes()
    assert b"site-packages" not in content
    assert b"stack_trace" not in content


def test_global_state_of_torch_is_left_alone(torch, tiny, tmp_path):
    torch.manual_seed(5)
    wanted = torch.rand(3)
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    train_population("tiny", tmp_path, limit=1)
    assert torch.equal(torch.rand(3), wanted)
    assert torch.get_num_threads() == threads


def test_unknown_population_tells_near_ones(tmp_path):
    with pytest.raises(AnalyzerError, match="did you mean digits"):
        train_population("digit", tmp_path)


@pytest.mark.parametrize("option", ["processes", "limit", "samples"])
def test_numbers_below_one_are_refused(torch, tiny, tmp_path, option):
    with pytest.raises(AnalyzerError, match=f"--{option}"):
        train_population("tiny", tmp_path, **{option: 0})


def test_too_many_samples_are_refused(torch, tiny, tmp_path):
    with pytest.raises(AnalyzerError, match="1300 training images, fewer than the 5000"):
        train_population("tiny", tmp_path, samples=5000)


def test_folder_that_is_a_file_is_refused(torch, tiny, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(AnalyzerError, match="is a file, not a folder; name another"):
        train_population("tiny", tmp_path / "file")


def test_missing_extra_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(population_training.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AnalyzerError, match=r"onnx-gap\[zoo\]"):
        train_population("digits", tmp_path)


def test_the_door_needs_no_heavy_imports():
    code = (
        "import sys, model_zoo; model_zoo.find('digits-c40');"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'sklearn', 'joblib'} & set(sys.modules);"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
