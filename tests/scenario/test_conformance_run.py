# SPDX-License-Identifier: Apache-2.0
"""
`make conformance` takes the suite's report for what it says, whatever the
suite's exit status.  A script stands for the suite, which no package carries.
"""

import json
import os
import subprocess
import sys

import pytest

from client import SLOW
from daemon import BINARY, ROOT

sys.path.insert(0, str(ROOT / "tests"))

import conformance  # noqa: E402

# It looks at the daemon that it is given, then leaves this report.
SUITE = """\
#!{python}
import json, os, urllib.request
url = "http://" + os.environ["OCI_REGISTRY"]
post = urllib.request.Request(url + "/v2/library/app/blobs/uploads/",
                              data=b"", method="POST")
seen = {{"ping": urllib.request.urlopen(url + "/v2/").status,
        "post": urllib.request.urlopen(post).status,
        "catalog": json.load(urllib.request.urlopen(url + "/v2/_catalog")),
        "folder": os.listdir("."),
        "oci": {{k: v for k, v in os.environ.items() if k.startswith("OCI_")}}}}
results = os.environ["OCI_RESULTS_DIR"]
with open(results + "/seen.json", "w") as file:
    json.dump(seen, file)
report = {report!r}
if report is not None:
    with open(results + "/junit.xml", "w") as file:
        file.write(report)
raise SystemExit({status})
"""
CASE = '<testcase name="case %d" status="%s">%s</testcase>'


def report(tests=1000, cases=1000, last="passed", said="", **counts):
    """As the suite writes it: one line for each test that is no group."""
    lines = [CASE % (i, "passed", "") for i in range(cases - 1)]
    lines.append(CASE % (cases, last, said))
    attributes = "".join(f' {key}="{value}"' for key, value in counts.items())
    return f'<testsuites tests="{tests}"><testsuite name="OCI" ' \
        f'tests="{tests}"{attributes}>{"".join(lines)}</testsuite></testsuites>'


def run(folder, text, status=0, suite=None):
    """(exit status, stdout and stderr) with a suite that leaves `text`."""
    program = folder / "suite"
    program.write_text(SUITE.format(python=sys.executable, report=text,
                                    status=status))
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, ROOT / "tests/conformance.py", suite or program,
         "--results", folder / "results"], capture_output=True, text=True,
        timeout=30 * SLOW, check=False,
        env={**os.environ, "ENTREPOT_BIN": str(BINARY), "OCI_VERSION": "1.0",
             "OCI_FILTER_TEST": "nothing"})
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("status", [0, 1])
def test_all_passed_is_0(tmp_path, status):
    done, text = run(tmp_path, report(1032, 830, failures=0, errors=0), status)
    assert done == 0, text
    assert "1032 tests, all passed" in text
    seen = json.loads((tmp_path / "results/seen.json").read_text())
    # A daemon that has nothing, hosts every name, and is not misled by the
    # caller's settings of the suite.
    assert (seen["ping"], seen["post"]) == (200, 202)
    assert seen["catalog"] == {"repositories": []}
    assert not [name for name in seen["folder"] if "oci-conf" in name]
    assert seen["oci"].pop("OCI_REGISTRY").startswith("127.0.0.1:")
    assert seen["oci"] == {
        "OCI_TLS": "disabled", "OCI_VERSION": "dev", "OCI_DATA_SPARSE": "true",
        "OCI_RESULTS_DIR": str(tmp_path / "results")}
    assert (tmp_path / "results/entrepot.log").stat().st_size


BAD = {
    "too few": (report(999, 999), "at least 1000"),
    "failures": (report(failures=1), "failures: 1"),
    "errors": (report(errors=2), "errors: 2"),
    "skipped": (report(skipped=1), "skipped: 1"),
    "disabled": (report(disabled=3), "disabled: 3"),
    "one skipped": (report(last="skipped"), "case 1000: skipped"),
    "one disabled": (report(last="disabled"), "case 1000: disabled"),
    "a failure": (report(said='<failure message="no good"/>'), "no good"),
    "an error": (report(said='<error message="broken"/>'), "broken"),
    "a skip": (report(said='<skipped message="not here"/>'), "not here"),
    "no report": (None, "left no report"),
    "half a report": ("<testsuites>", "left no report"),
    "no tests": ("<testsuites></testsuites>", "at least 1000"),
}


@pytest.mark.parametrize("case", BAD)
def test_anything_else_is_not(tmp_path, monkeypatch, capsys, case):
    """A report of before is not believed, either."""
    text, said = BAD[case]
    results = tmp_path / "results"
    results.mkdir()
    (results / "junit.xml").write_text(report())

    def leave(_, folder):
        if text is not None:
            (folder / "junit.xml").write_text(text)

    monkeypatch.setattr(conformance, "run", leave)
    monkeypatch.setattr(sys, "argv", ["conformance.py", sys.executable,
                                      "--results", str(results)])
    assert conformance.main() == 1
    out = capsys.readouterr()
    assert said in out.out + out.err


def test_a_suite_that_is_no_program(tmp_path):
    for suite in (tmp_path, tmp_path / "none"):
        done, out = run(tmp_path, report(), suite=suite)
        assert done == 2 and "is not a program" in out
