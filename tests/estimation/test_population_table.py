import numpy as np
import pytest

from analyzer.errors import GapModelError, OutputError
from analyzer.estimation import FEATURE_SETS, read_population, write_population
from analyzer.measures.ablation.curve_features import CURVE_FEATURES
from analyzer.measures.interpolation.mixing import INTERPOLATION_FEATURES
from analyzer.measures.neighbors.votes import NEIGHBORS_FEATURES

TABLE = """\
name,model,train_data,batch_norm,optimizer,zeta,kappa,train_accuracy,test_accuracy,gap
a,a.onnx,digits,0,sgd,0.1,0.9,1.0,0.9,0.1
b,b.onnx,digits,1,adam,0.5,0.6,0.99,0.5,0.49
"c, d",c.onnx,digits,,sgd,0.7,0.4,1,,
"""


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "population.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_population_is_read(write):
    population = read_population(write(TABLE))
    assert len(population) == 3
    assert population.name == ("a", "b", "c, d")
    assert population.zeta.tolist() == [0.1, 0.5, 0.7]
    assert population.kappa.tolist() == [0.9, 0.6, 0.4]
    assert population.gap[:2].tolist() == [0.1, 0.49]
    assert np.isnan([population.gap[2], population.test_accuracy[2]]).all()
    assert list(population.further) == ["model", "train_data", "batch_norm", "optimizer"]
    assert population.hyperparameters == {
        "batch_norm": ("0", "1", ""),
        "optimizer": ("sgd", "adam", "sgd"),
    }
    assert population.recipe() == {"batch_norm": [0.0, 1.0], "optimizer": ["adam", "sgd"]}


def test_networks_with_a_known_gap(write):
    known = read_population(write(TABLE)).with_gap()
    assert known.name == ("a", "b")
    assert known.further["model"] == ("a.onnx", "b.onnx")


def test_gap_is_made_from_the_accuracies(write):
    text = "kappa,zeta,name,test_accuracy,train_accuracy\n0.5,0.4,a,0.75,1\n"
    assert read_population(write(text)).gap.tolist() == [0.25]
    text = "name,zeta,kappa,gap\na,0.4,0.5,0.25\n"
    assert np.isnan(read_population(write(text)).train_accuracy).all()


def test_spreadsheet_habits_are_read(write):
    text = "\ufeff" + TABLE.replace("\n", "\r\n").replace(",", ", ").replace('"c, ', '"c,') + "\r\n"
    population = read_population(write(text))
    assert population.name == ("a", "b", "c, d")
    assert population.zeta.tolist() == [0.1, 0.5, 0.7]


def test_population_comes_back_as_it_was(write, tmp_path):
    population = read_population(write(TABLE))
    write_population(population, tmp_path / "again.csv")
    again = read_population(tmp_path / "again.csv")
    assert (again.name, again.further) == (population.name, population.further)
    for column in ("zeta", "kappa", "train_accuracy", "test_accuracy", "gap"):
        assert np.array_equal(getattr(again, column), getattr(population, column), equal_nan=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.csv", "population.csv"]


def test_unwritable_place_is_refused(write, tmp_path):
    population = read_population(write(TABLE))
    with pytest.raises(OutputError, match="cannot be written"):
        write_population(population, tmp_path / "none" / "population.csv")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0.5,0.6,", ",half,0.6,", "line 3, column 'zeta': 'half' is not a number from 0 to 1"),
        (",0.5,0.6,", ",٠.٥,0.6,", "line 3, column 'zeta': '٠.٥' is not a number from 0 to 1"),
        (",0.5,0.6,", ",0.5,,", "line 3, column 'kappa': ''"),
        (",0.5,0.6,", ",0.5,nan,", "line 3, column 'kappa': 'nan'"),
        ("0.99,0.5,0.49", "99,0.5,0.49", "line 3, column 'train_accuracy': '99'"),
        ("0.99,0.5,0.49", "0.99,0.5,0.4", "line 3, column 'gap': 0.4 is not train_accuracy"),
        ("b,b.onnx", "a,b.onnx", "line 3: the name 'a' is taken by line 2"),
        ("b,b.onnx", ",b.onnx", "line 3: the column 'name' is empty"),
        ('"c, d"', "c, d", "line 4: 11 cells for 10 columns"),
        ('"c, d"', '"c" d', "line 4: not a line of CSV"),
        ("zeta,kappa", "zeta,Kappa", "no column kappa; its columns are name, model"),
        ("zeta,kappa", "zeta,zeta,kappa", "two columns named 'zeta'"),
        ("batch_norm", "", "no name for column 4"),
        ("test_accuracy,gap", "test,difference", r"no column gap \(or train_accuracy and test"),
        (TABLE, "", "its columns are none"),
        (TABLE, TABLE.splitlines()[0], "has no rows"),
    ],
)
def test_table_that_is_wrong_is_named_by_row_and_column(write, old, new, message):
    path = write(TABLE.replace(old, new))
    with pytest.raises(GapModelError, match=message) as caught:
        read_population(path)
    assert str(path) in str(caught.value)


def test_file_that_is_no_text_is_refused(write, tmp_path):
    with pytest.raises(GapModelError, match="not UTF-8"):
        read_population(write(TABLE.replace("sgd", "größe"), encoding="latin-1"))
    with pytest.raises(GapModelError, match="cannot be read: No such file"):
        read_population(tmp_path / "none.csv")


def test_what_units_were_ranked_by_is_no_hyperparameter(write):
    text = "name,zeta,kappa,gap,unit_rank\na,0.4,0.5,0.25,{}\nb,0.5,0.4,0.3,{}\n"
    assert read_population(write(TABLE)).rank == "l1"
    found = read_population(write(text.format("random", "random")))
    assert (found.rank, found.hyperparameters) == ("random", {})
    assert read_population(write(text.format("", "l1"))).rank == "l1"
    with pytest.raises(GapModelError, match=r"ranked by l1 and by random.*the same rank"):
        assert read_population(write(text.format("", "random"))).rank


def test_features_are_numbers_and_no_hyperparameters(write, tmp_path):
    text = """\
name,depth,zeta,kappa,gap,curve_n0,margin_0_q1
a,3,0.4,0.5,0.2,0.5,-7
b,4,0.4,0.5,,,
"""
    population = read_population(write(text))
    assert list(population.features) == ["curve_n0", "margin_0_q1"]
    assert population.features["margin_0_q1"][0] == -7
    assert np.isnan(population.features["curve_n0"][1])
    assert population.hyperparameters == {"depth": ("3", "4")}
    assert population.with_gap().features["curve_n0"].tolist() == [0.5]
    write_population(population, tmp_path / "again.csv")
    again = read_population(tmp_path / "again.csv")
    for name, values in population.features.items():
        assert np.array_equal(again.features[name], values, equal_nan=True)
    with pytest.raises(GapModelError, match="line 2, column 'curve_n0': 'half' is not a number"):
        read_population(write(text.replace("0.2,0.5,", "0.2,half,")))


def test_features_of_other_measures_are_numbers_that_no_fit_takes_by_itself(write):
    further = [*INTERPOLATION_FEATURES, *NEIGHBORS_FEATURES]
    header = ",".join(["name,zeta,kappa,gap", *CURVE_FEATURES, *further])
    row = "a,0.4,0.5,0.2" + ",0.5" * 9 + ",0.7" * (len(further) - 1) + ",\n"
    population = read_population(write(f"{header}\n{row}"))
    assert list(population.features) == [*CURVE_FEATURES, *further]
    assert population.features["interpolation_hold_mean"] == [0.7]
    assert np.isnan(population.features[further[-1]]).all()
    assert not population.hyperparameters
    for name, features in FEATURE_SETS.items():
        taken = set(further) & set(features.columns(population))
        assert taken == (set(features.needed) if name == "measures" else set()), name


def test_extended_columns_are_all_of_the_curves_and_what_margins_there_are(write):
    header = ",".join(["name,zeta,kappa,gap", *CURVE_FEATURES, "margin_3_q2"])
    row = "a,0.4,0.5,0.2" + ",0.5" * 9 + ",1.5\n"
    population = read_population(write(f"{header}\n{row}"))
    extended = FEATURE_SETS["extended"]
    assert list(extended.columns(population)) == [*CURVE_FEATURES, "margin_3_q2"]
    with pytest.raises(GapModelError, match="'a' has no margin_3_q2"):
        extended.columns(read_population(write(f"{header}\n{row}".replace("1.5", ""))))
    with pytest.raises(GapModelError, match="no column curve_n0, which such"):
        extended.columns(read_population(write(TABLE)))
