"""docs/EVIDENCE.md and the pages behind it against the committed tables."""

import re

import numpy as np
import pytest
from scipy.stats import kendalltau, pearsonr
from sklearn.linear_model import LinearRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from analyzer.estimation import draw_splits
from tools.evidence import build
from tools.evidence.tables import EVIDENCE, read_table

DOCS = EVIDENCE.parent
PAGES = {
    path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8")
    for path in (DOCS / build.SUMMARY, *sorted(EVIDENCE.glob("*.md")))
}
ESTIMATES = PAGES["evidence/estimates.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
POPULATIONS = read_table(EVIDENCE / "populations.csv").texts("name").tolist()
NUMBER = re.compile(r"(?<![\w.])[−-]?\d+\.\d+")
LAST_DIGITS = 0.0021  # of what is printed with two digits or more, for other versions of numpy


@pytest.fixture(scope="module")
def rebuilt():
    return build.pages_of(build.read_evidence())


def numbers(text):
    return np.array([float(found.replace("−", "-")) for found in NUMBER.findall(text)])


def row(population, features):
    """A row of the table of all estimates: a number by its column."""
    header = re.search(r"^\| population \| estimated from \| (.*) \|$", ESTIMATES, re.MULTILINE)[1]
    mine = rf"^\| \*\*{population}\*\* \| {features} \| (.*) \|$"
    cells = re.search(mine, ESTIMATES, re.MULTILINE)[1]
    named = dict(zip(header.split(" | "), cells.split(" | "), strict=True))
    low, high = numbers(named.pop("95 %"))
    found = {name: float(cell.replace("−", "-")) for name, cell in named.items()}
    return found | {"low": low, "high": high}


def reached(name):
    """The networks that were trained far enough."""
    networks = read_table(EVIDENCE / f"networks-{name}.csv")
    return networks.where(networks.texts("reached") == "True")


def test_there_is_no_page_but_those_that_are_built(rebuilt):
    assert rebuilt.keys() == PAGES.keys()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_what_the_tables_say(rebuilt, path):
    assert NUMBER.sub("#", rebuilt[path]) == NUMBER.sub("#", PAGES[path])
    np.testing.assert_allclose(numbers(rebuilt[path]), numbers(PAGES[path]), atol=LAST_DIGITS)


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_headline_numbers_are_those_of_the_paper_s_protocol_done_plainly(name):
    networks = reached(name)
    zeta, kappa, gap = (networks.numbers(column) for column in ("zeta", "kappa", "gap"))
    design = np.column_stack([zeta, kappa, np.ones(len(gap))])

    def estimate(fitted_on, tested):
        return design[tested] @ np.linalg.lstsq(design[fitted_on], gap[fitted_on])[0]

    everything = np.arange(len(gap))
    random = np.random.default_rng(1)
    ssr, out_of_fold = [], []
    for _ in range(200):
        order = random.permutation(len(gap))
        tested, fitted_on = np.split(order, [-(-len(gap) // 10)])
        ssr.append(((estimate(fitted_on, tested) - gap[tested]) ** 2).sum())
    for _ in range(20):
        left_out = np.empty(len(gap))
        for tested in np.array_split(random.permutation(len(gap)), 10):
            left_out[tested] = estimate(np.setdiff1d(everything, tested), tested)
        out_of_fold.append(np.corrcoef(left_out, gap)[0, 1])
    found = row(name, "ζ and κ")
    fitted_r = np.corrcoef(estimate(everything, everything), gap)[0, 1]
    assert found["r, fitted"] == pytest.approx(fitted_r, abs=6e-4)
    # Splits and folds are drawn otherwise here.
    assert found["r, out of fold"] == pytest.approx(np.mean(out_of_fold), abs=0.03)
    assert found["SSR: median"] == pytest.approx(np.median(ssr), rel=0.25)
    r = np.corrcoef(zeta, gap)[0, 1]
    section = PAGES["evidence/populations.md"].split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert f"r(ζ, gap) = {r:.3f}".replace("-", "−") in section


def fit_by_scikit_learn(ridge, features, gap):
    """A line, or a ridge that scales and chooses its penalty on these networks alone."""
    if not ridge:
        return LinearRegression().fit(features, gap).predict
    penalties = 10 ** np.linspace(2, -5, 29) * len(gap)
    return make_pipeline(StandardScaler(), RidgeCV(penalties)).fit(features, gap).predict


@pytest.mark.parametrize("name", POPULATIONS)
def test_every_score_is_that_of_scikit_learn_on_the_same_splits(name):
    networks = reached(name)
    gap, all_of_them = networks.numbers("gap"), np.arange(len(networks))
    curves = [column for column in networks.columns if column.startswith(("curve_", "score_"))]
    margins = [column for column in networks.columns if column.startswith("margin_")]
    choices = {
        "ζ and κ": (["zeta", "kappa"], False),
        "ζ alone": (["zeta"], False),
        "κ alone": (["kappa"], False),
        "margins": (margins, False),
        "margins, by ridge": (margins, True),
        "more of the curves": (curves, True),
        "curves and margins": (curves + margins, True),
    }
    splits = draw_splits(len(gap))
    if len(splits.random[0][0]) <= len(margins):
        del choices["margins"]
    tried = []
    for label, (columns, ridge) in choices.items():
        features = np.column_stack([networks.numbers(column) for column in columns])

        def estimate(fitted_on, tested, features=features, ridge=ridge):
            return fit_by_scikit_learn(ridge, features[fitted_on], gap[fitted_on])(features[tested])

        ssr = [((estimate(one, other) - gap[other]) ** 2).sum() for one, other in splits.random]
        own = np.empty((len(splits.folds), len(gap)))
        for repetition, folds in zip(own, splits.folds, strict=True):
            for fitted_on, tested in folds:
                repetition[tested] = estimate(fitted_on, tested)
        r = np.mean([pearsonr(one, gap).statistic for one in own])
        reach = 1.959964 / np.sqrt(len(gap) - 3)
        wanted = {
            "networks": len(gap),
            "r, fitted": pearsonr(estimate(all_of_them, all_of_them), gap).statistic,
            "r, out of fold": r,
            "τ": np.mean([kendalltau(one, gap).statistic for one in own]),
            "R²": np.mean([r2_score(gap, one) for one in own]),
            "SSR: median": np.median(ssr),
            "largest": max(ssr),
            "held out": len(splits.random[0][1]),
            "error": np.sqrt(np.median(ssr) / len(splits.random[0][1])),
            "low": np.tanh(np.arctanh(r) - reach),
            "high": np.tanh(np.arctanh(r) + reach),
        }
        assert row(name, label) == pytest.approx(wanted, rel=1e-4, abs=0.006), label
        if len(columns) > 1:
            tried.append((r, np.sqrt(np.mean((own - gap) ** 2))))
    section = ESTIMATES.split(f"\n### Slices of {name}\n")[1]
    cells = re.search(r"^\| all \| \d+ (?:\| \S+ ){2}\| (.*) \| \S+ \|$", section, re.MULTILINE)
    np.testing.assert_allclose(numbers(cells[1]).reshape(-1, 2), tried, atol=0.006)


@pytest.mark.parametrize("source", POPULATIONS)
def test_transfer_is_that_of_a_line_fitted_elsewhere(source):
    def both(name):
        networks = reached(name)
        features = [networks.numbers(column) for column in ("zeta", "kappa")]
        return np.column_stack(features), networks.numbers("gap")

    line = LinearRegression().fit(*both(source))
    for target in POPULATIONS:
        if target != source:
            features, gap = both(target)
            estimate = line.predict(features)
            mine = rf"^\| ζ and κ \| {source} \| {target} \| (\S+) \| (\S+) \|"
            cells = re.search(mine, PAGES["evidence/transfer.md"], re.MULTILINE)
            wanted = pearsonr(estimate, gap).statistic, np.sqrt(np.mean((estimate - gap) ** 2))
            assert numbers(" ".join(cells.groups())) == pytest.approx(wanted, abs=0.006), target


@pytest.mark.parametrize("name", POPULATIONS)
def test_single_classes_are_those_of_the_table(name):
    classes = read_table(EVIDENCE / f"classes-{name}.csv")
    classes = classes.where(np.isin(classes.texts("network"), reached(name).texts("name")))
    network = classes.texts("network")
    columns = [classes.numbers(column) for column in ("zeta", "kappa", "gap")]
    aside = [values.copy() for values in columns]
    for one in set(network.tolist()):
        for values in aside:
            values[network == one] -= values[network == one].mean()
    mine = rf"^\| {name} \| {len(classes)} \| (.*) \|$"
    cells = re.search(mine, PAGES["evidence/classes.md"], re.MULTILINE)[1]
    found = numbers(cells)  # over all: ζ, κ, estimate; within networks likewise
    for first, (zeta, kappa, gap) in ((0, columns), (3, aside)):
        wanted = pearsonr(zeta, gap).statistic, pearsonr(kappa, gap).statistic
        assert found[first : first + 2] == pytest.approx(wanted, abs=0.006)


def test_the_summary_s_table_is_that_of_all_estimates():
    for name in POPULATIONS:
        cells = re.search(rf"^\| {name} \| (.*) \|$", PAGES[build.SUMMARY], re.MULTILINE)[1]
        networks, zeta_kappa, _, best, *_ = cells.split(" | ")
        assert int(networks) == len(reached(name))
        for label, cell in (("ζ and κ", zeta_kappa), ("curves and margins", best)):
            found = row(name, label)
            wanted = [found["r, out of fold"], found["low"], found["high"]]
            assert numbers(cell) == pytest.approx(wanted, abs=0.0051), (name, label)


def test_the_readme_s_numbers_are_the_summary_s():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    trust = readme.split("\n## How far to trust it\n")[1].split("\n## ")[0]
    said = set(re.findall(r"\b\d[\d.]*\d\b", trust))
    assert said
    assert said <= set(re.findall(r"\b\d[\d.]*\d\b", PAGES[build.SUMMARY]))


def test_the_summary_is_short_and_names_every_page():
    words = [word for word in PAGES[build.SUMMARY].split() if word.strip("|-–")]
    assert len(words) <= 950
    linked = set(LINK.findall(PAGES[build.SUMMARY]))
    assert {path for path in PAGES if path != build.SUMMARY} <= linked


def test_every_link_leads_somewhere():
    for path, text in PAGES.items():
        for link in LINK.findall(text):
            target, _, anchor = link.partition("#")
            if target.startswith("https:"):
                continue
            file = ((DOCS / path).parent / target).resolve() if target else DOCS / path
            assert file.exists(), (path, link)
            if anchor:
                lines = file.read_text(encoding="utf-8").splitlines()
                headings = {
                    re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
                    for line in lines
                    if line.startswith("#")
                }
                assert anchor in headings, (path, link)


def test_every_figure_is_there_and_none_is_left_over():
    shown = {
        link.removeprefix("evidence/")
        for text in PAGES.values()
        for link in LINK.findall(text)
        if link.endswith(".png")
    }
    assert shown == {path.name for path in EVIDENCE.glob("*.png")}


def test_every_population_has_its_section():
    for name in POPULATIONS:
        for page in ("populations", "estimates"):
            assert f"\n## {name}\n" in PAGES[f"evidence/{page}.md"]
        assert f"(#{name})" in PAGES["evidence/populations.md"]


def test_no_number_is_typed_by_hand():
    for path in (build.TEMPLATES / "EVIDENCE.md.jinja", *build.TEMPLATES.glob("notes/*")):
        text = path.read_text(encoding="utf-8")
        code = r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|`[^`]*`|\]\([^)]*\)"
        words = re.sub(code, "", text, flags=re.DOTALL)
        assert not re.findall(r"(?<!\w)\d", words), path.name  # VGG16 is a name


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (float("nan"), "–"), (-0.0004, "0.000"), (-0.25, "−0.250")]
)
def test_numbers_are_written_for_readers(value, text):
    assert build.number(value) == text
