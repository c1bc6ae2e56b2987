# SPDX-License-Identifier: Apache-2.0
"""make install, as a packager and as somebody who types it run it."""

import json
import os
import re
import stat
import subprocess

import pytest

from daemon import BINARY, ROOT


def install(to, **variables):
    """With what has been built already, whatever its age."""
    words = {"DESTDIR": to, "SAN": os.environ.get("ENTREPOT_SAN", ""),
             "FAULTS": os.environ.get("ENTREPOT_FAULTS", ""), **variables}
    done = subprocess.run(
        ["make", "-s", "-o", os.path.relpath(BINARY, ROOT), "install",
         *(f"{name}={value}" for name, value in words.items())],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and not done.stderr, done
    return to


PLACES = [({}, "usr", "etc"),
          ({"PREFIX": "/usr/local", "SYSCONFDIR": "/usr/local/etc"},
           "usr/local", "usr/local/etc")]


@pytest.mark.parametrize("variables, prefix, etc", PLACES)
def test_units_name_what_is_installed(tmp_path, variables, prefix, etc):
    install(tmp_path, **variables)
    units = tmp_path / prefix / "lib/systemd/system"
    service = (units / "entrepot.service").read_text()
    start = re.search(r"^ExecStart=(\S+) serve --config (\S+)$", service, re.M)
    assert start, service
    assert os.access(tmp_path / start[1][1:], os.X_OK)
    assert (tmp_path / start[2][1:]).is_file()
    for unit in ("entrepot.service", "entrepot.socket"):
        text = (units / unit).read_text()
        page = re.search(r"^Documentation=file://(\S+)$", text, re.M)[1]
        assert (tmp_path / page[1:]).is_file(), page
    assert "ListenStream=" in (units / "entrepot.socket").read_text()
    made = (tmp_path / prefix / "lib/tmpfiles.d/entrepot.conf").read_text()
    assert re.search(rf"^d +/{etc}/entrepot ", made, re.M), made
    assert (tmp_path / prefix / "lib/sysusers.d/entrepot.conf").read_text()


def test_installed_program_takes_the_installed_configuration(tmp_path):
    install(tmp_path)
    conf = tmp_path / "etc/entrepot/entrepot.json"
    assert json.loads(conf.read_text())["data"] == "/var/lib/entrepot"
    done = subprocess.run(
        [tmp_path / "usr/bin/entrepot", "check-config", "--config", conf],
        capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done


def test_files_are_for_everyone_to_read(tmp_path):
    install(tmp_path)
    for path in tmp_path.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        wanted = 0o755 if path.is_dir() or path.name == "entrepot" else 0o644
        assert mode == wanted, (path, oct(mode))
        assert path.is_dir() or path.stat().st_size > 0, path


def test_configuration_that_is_there_stays(tmp_path):
    conf = tmp_path / "etc/entrepot/entrepot.json"
    conf.parent.mkdir(parents=True)
    conf.write_text("{}\n")
    install(tmp_path)
    assert conf.read_text() == "{}\n"
