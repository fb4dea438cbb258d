"""`onnx-gap report`"""


def test_the_report_is_written_again(audit, onnx_gap):
    folder = audit()
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    shown = onnx_gap("report", folder)
    assert (shown.code, shown.err) == (0, "")
    assert shown.out == f"{folder / 'report.html'}: written\n"
    assert (folder / "report.html").read_bytes() == before


def test_a_folder_without_an_audit(onnx_gap, tmp_path):
    shown = onnx_gap("report", tmp_path)
    assert shown.code == 2
    assert len(shown.err.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()
