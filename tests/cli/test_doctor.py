"""`onnx-gap doctor`"""

from analyzer import audit
from analyzer.cli import doctor_command
from analyzer.errors import DeviceError


def test_versions_devices_and_an_audit(onnx_gap):
    shown = onnx_gap("doctor")
    assert (shown.code, shown.err) == (0, "")
    facts = dict(line.split("  ", 1) for line in shown.out.splitlines())
    assert facts["numpy"].strip()[0].isdigit()
    assert facts["cpu"].strip() == "ready"
    assert facts["audit of zoo:digits-c0"].strip() == "works"


def test_json(onnx_gap):
    shown = onnx_gap("doctor", "--json")
    assert (shown.code, shown.err) == (0, "")
    assert shown.json["devices"]["cpu"] is None
    assert shown.json["audit"] is None
    assert shown.json["extras"].keys() == {"plot", "parquet", "zoo", "dask", "mlflow"}


def test_extras_that_are_not_installed_are_told_with_their_command(onnx_gap, monkeypatch):
    monkeypatch.setattr(doctor_command, "find_spec", lambda package: None)
    shown = onnx_gap("doctor")
    assert shown.code == 0
    assert "extra parquet           pip install 'onnx-gap[parquet]'" in shown.out


def test_an_audit_that_does_not_work_exits_with_1(onnx_gap, monkeypatch):
    def run_audit(request):
        raise DeviceError("no device today")

    monkeypatch.setattr(audit, "run_audit", run_audit, raising=False)
    shown = onnx_gap("doctor")
    assert shown.code == 1
    assert shown.out.splitlines()[-1].endswith("no device today")
