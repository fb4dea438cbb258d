"""What counts as a fault, and that a case is caught at it."""

import pytest
from hypothesis import strategies as st

from tools.fuzz.harness import (
    BYTES,
    Case,
    Link,
    Outcome,
    Pipe,
    Target,
    fault_of,
    load_case,
    run_case,
    save_case,
)

GOOD = {
    "code": 0, "killed": False, "seconds": 1.0, "cpu_seconds": 1.0, "bytes": 1 << 20,
    "out": "ζ 0.5\n", "err": "", "strays": (),
}  # fmt: skip
ANY = Target("any", st.nothing())


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"code": 3, "err": 'File "/x/analyzer/files.py", line 3, in read\nKeyError: 1\n'},
         "exit 3: analyzer/files.py read KeyError"),
        ({"code": -11}, "exit -11"),
        ({"killed": True, "code": -9}, "waited for more than 60 s"),
        ({"cpu_seconds": 11.0}, "took more than 10 s"),
        ({"bytes": BYTES + 1}, "took more than 2 GB"),
        ({"out": "\x1b[31m"}, "raw control character U+001B"),
        ({"err": "gnp\u202eexe"}, "raw control character U+202E"),
        ({"strays": ("wrote /etc/x",)}, "wrote /etc/x"),
        ({"code": 2, "err": "sorry\n"}, "exit 2 without a sentence"),
    ],
)  # fmt: skip
def test_faults(what, said):
    assert fault_of(Outcome(**GOOD)) is None
    assert fault_of(Outcome(**{**GOOD, **what})).startswith(said)


def test_what_is_written_outside_the_result_is_found(tmp_path):
    small = ("audit", "zoo:digits-c0", "--limit-per-class", "1", "--out")
    assert run_case(ANY, Case((*small, "out"))).strays == ()
    inside, outside = (run_case(ANY, Case((*small, to))) for to in ("other", str(tmp_path / "new")))
    assert "changed other/audit.json" in inside.strays
    assert any(stray.startswith("wrote ") for stray in outside.strays)
    assert (inside.code, outside.code) == (0, 0)


def test_a_case_survives_being_saved(tmp_path):
    files = {
        "a.json": b'{"a": 1}', "b": b"\xff\x00", "c": Link("/dev/zero"), "d": Pipe(), "e": None,
        "n\udcff": b"", "long": b"x" * 5000,
    }  # fmt: skip
    case = Case(("inspect", "b"), files)
    save_case(case, tmp_path / "cases" / "case.json")
    assert load_case(tmp_path / "cases" / "case.json") == case
