"""Every reader on what once broke it, and on a few new cases; ``python -m tools.fuzz`` has more."""

import pytest
from hypothesis import HealthCheck, given, settings

from tools.fuzz.harness import fault_of, load_case, run_case
from tools.fuzz.targets import CORPUS, TARGETS

NEW_CASES = 12
KEPT = sorted(CORPUS.glob("*/*.json"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_once_failed_is_refused_or_read(path):
    assert fault_of(run_case(TARGETS[path.parent.name], load_case(path))) is None


@pytest.mark.parametrize("name", TARGETS)
def test_new_cases_find_no_fault(name):
    target = TARGETS[name]

    @settings(
        max_examples=NEW_CASES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def try_case(case):
        outcome = run_case(target, case)
        assert fault_of(outcome) is None, outcome.err

    try_case()


def test_every_kept_case_belongs_to_a_reader():
    assert {path.parent.name for path in KEPT} <= set(TARGETS)
