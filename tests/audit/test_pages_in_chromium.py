"""Pages as their readers see them, where Chromium and axe-core are at hand."""

import os
from pathlib import Path

import pytest

from analyzer.audit.compare import compare_audits
from analyzer.audit.compare_page import write_comparison
from analyzer.audit.report import html_of, page_of
from tools.check_pages import CHROMIUM, faults_of, find_axe

AXE = Path(os.environ["AXE"]) if "AXE" in os.environ else find_axe(Path(__file__).parents[2])

pytestmark = pytest.mark.skipif(
    not CHROMIUM or AXE is None, reason="Chromium or axe-core (npm install axe-core) is not there"
)


@pytest.fixture
def report(audit, tmp_path):
    (tmp_path / "report.html").write_text(html_of(page_of(audit)), encoding="utf-8")
    return tmp_path / "report.html"


@pytest.fixture
def comparison(audit, tmp_path):
    write_comparison([audit, audit], [compare_audits(audit, audit)], tmp_path / "both.html")
    return tmp_path / "both.html"


@pytest.mark.parametrize("page", ["report", "comparison"])
def test_a_page_has_no_fault(page, request):
    assert list(faults_of(request.getfixturevalue(page), AXE, widths=(420,))) == []


def test_faults_are_found(tmp_path):
    (tmp_path / "bad.html").write_text(
        """<!doctype html><html><head><title>bad</title>
        <meta http-equiv="Content-Security-Policy" content="default-src 'none'"></head>
        <body><main><img src="data:,"><p style="color:#ccc;background:#fff">faint</p>
        <div style="width:900px">wide</div></main></body></html>""",
        encoding="utf-8",
    )
    said = "\n".join(faults_of(tmp_path / "bad.html", AXE, widths=(420,)))
    for fault in ("wider than its window", "color-contrast", "html-has-lang", "image-alt"):
        assert fault in said
