"""docs/EVIDENCE.md against the committed tables."""

import re

import numpy as np
import pytest

from tools.evidence import build
from tools.evidence.tables import EVIDENCE, read_table

PAGE = build.PAGE.read_text(encoding="utf-8")
POPULATIONS = read_table(EVIDENCE / "populations.csv").texts("name").tolist()
NUMBER = re.compile(r"(?<![\w.])[−-]?\d+\.\d+")
LAST_DIGITS = 0.0021  # of what is printed with two digits or more, for other versions of numpy


@pytest.fixture(scope="module")
def rebuilt():
    return build.page_of(build.read_evidence())


def numbers(text):
    return np.array([float(found.replace("−", "-")) for found in NUMBER.findall(text)])


def row(population, features):
    """The cells of a row of the page's first large table."""
    return re.search(rf"^\| \*\*{population}\*\* \| {features} \| (.*) \|$", PAGE, re.MULTILINE)[
        1
    ].split(" | ")


def test_the_page_is_what_the_tables_say(rebuilt):
    assert NUMBER.sub("#", rebuilt) == NUMBER.sub("#", PAGE)
    np.testing.assert_allclose(numbers(rebuilt), numbers(PAGE), atol=LAST_DIGITS)


@pytest.mark.parametrize("name", POPULATIONS)
def test_the_headline_numbers_are_those_of_the_paper_s_protocol_done_plainly(name):
    networks = read_table(EVIDENCE / f"networks-{name}.csv")
    networks = networks.where(networks.texts("reached") == "True")
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
    cells = row(name, "ζ and κ")
    assert cells[0] == str(len(gap))
    found = [float(cell.replace("−", "-")) for cell in cells[1:6]]
    fitted_r = np.corrcoef(estimate(everything, everything), gap)[0, 1]
    assert found[0] == pytest.approx(fitted_r, abs=6e-4)
    assert found[1] == pytest.approx(np.mean(out_of_fold), abs=0.03)  # folds drawn otherwise
    assert found[4] == pytest.approx(np.median(ssr), rel=0.25)
    r = np.corrcoef(zeta, gap)[0, 1]
    assert f"r(ζ, gap) = {r:.3f}".replace("-", "−") in PAGE.split(f"\n## {name}\n")[1]


def test_every_figure_is_there_and_none_is_left_over():
    shown = set(re.findall(r"\]\(evidence/([\w-]+\.png)\)", PAGE))
    assert shown == {path.name for path in EVIDENCE.glob("*.png")}


def test_every_population_has_its_section():
    for name in POPULATIONS:
        assert f"\n## {name}\n" in PAGE
        assert f"(#{name})" in PAGE


def test_no_number_is_typed_by_hand():
    by_hand = [*build.TEMPLATES.glob("note-*"), *map(build.TEMPLATES.joinpath, build.BY_HAND)]
    for path in by_hand:
        text = path.read_text(encoding="utf-8")
        code = r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}|`[^`]*`|\]\([^)]*\)"
        words = re.sub(code, "", text, flags=re.DOTALL)
        assert not re.findall(r"(?<!\w)\d", words), path.name  # VGG16 is a name


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (float("nan"), "–"), (-0.0004, "0.000"), (-0.25, "−0.250")]
)
def test_numbers_are_written_for_readers(value, text):
    assert build.number(value) == text
