#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
What `make conformance SUITE=PROGRAM` runs: the conformance suite of the OCI
distribution specification (its conformance/ folder, a Go program)
against a daemon of its own, on an empty store.

The suite's table is printed as it is.  The exit status is the reports' and
not the suite's, which ends with 0 where it skipped tests and where it could
not read its settings: 0 only if junit.xml speaks of at least 1,000 tests and
every one of them passed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/scenario"))

from daemon import Config, Daemon  # noqa: E402

TESTS_MIN = 1000
LIMIT_S = 600


def settings(daemon, results):
    """
    The suite's environment: none of the caller's settings, the newest rules,
    and manifests some of whose blobs were never pushed.
    """
    env = {name: value for name, value in os.environ.items()
           if not name.startswith("OCI_") and
           not name.lower().endswith("_proxy")}
    env.update(OCI_REGISTRY="%s:%d" % daemon.address, OCI_TLS="disabled",
               OCI_VERSION="dev", OCI_DATA_SPARSE="true",
               OCI_RESULTS_DIR=str(results))
    return env


def run(suite, results):
    """Against a daemon that has nothing and asks nobody."""
    with tempfile.TemporaryDirectory(prefix="ent-") as folder:
        config = Config(Path(folder) / "data").options(
            {"allow_sparse": ["conformance/**"], "log.level": "info"})
        daemon = Daemon(Path(folder), config)
        # The suite walks away from uploads whose digest was refused.
        daemon.may_leave_partials = True
        try:
            daemon.start(["--default-upstream", "none"])
            # In an empty folder: it reads oci-conformance.yaml where it is.
            subprocess.run([suite], cwd=folder, check=False, timeout=LIMIT_S,
                           env=settings(daemon, results))
            daemon.finish()
        finally:
            if daemon.running:
                daemon.kill()
            shutil.copy(daemon.log_file, results / "entrepot.log")


def verdict(report):
    """
    (tests, [what did not pass, with the reason]).  The suite counts groups
    of tests too; only those that are none have a line of their own.
    """
    suites = list(xml.parse(report).iter("testsuite"))
    bad = []
    for case in (case for suite in suites for case in suite.iter("testcase")):
        said = [child for child in case
                if child.tag in ("failure", "error", "skipped")]
        if said or case.get("status") != "passed":
            why = said[0].get("message") if said else None
            bad.append(f"{case.get('name')}: {case.get('status')}: {why}")
    for kind in ("failures", "errors", "skipped", "disabled"):
        count = sum(int(suite.get(kind) or 0) for suite in suites)
        if count:
            bad.append(f"{kind}: {count}")
    return sum(int(suite.get("tests")) for suite in suites), bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("suite", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    args = parser.parse_args()

    suite, results = args.suite.resolve(), args.results.resolve()
    if not os.access(suite, os.X_OK) or suite.is_dir():
        parser.error(f"{args.suite} is not a program")
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    run(suite, results)
    try:
        tests, bad = verdict(results / "junit.xml")
    except (OSError, xml.ParseError) as error:
        print(f"the suite left no report: {error}", file=sys.stderr)
        return 1
    for line in bad:
        print(f"  -- {line}")
    if tests < TESTS_MIN:
        print(f"  -- at least {TESTS_MIN} tests are wanted")
    print(f"{tests} tests, {'not all' if bad else 'all'} passed; "
          f"see {args.results}/report.html")
    return 0 if tests >= TESTS_MIN and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
