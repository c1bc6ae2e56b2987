# SPDX-License-Identifier: Apache-2.0
"""
Fixtures: `up` (a scripted upstream), `new_up` (more of them), `entrepot` (a
daemon in front of `up`), `new_entrepot` (daemons configured by the test).
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import client  # noqa: E402
import content  # noqa: E402
from certs import Authority  # noqa: E402
from daemon import Config, Daemon  # noqa: E402
from upstream import Upstream  # noqa: E402

LIMIT = float(os.environ.get("ENTREPOT_TEST_LIMIT", "40")) * client.SLOW


class TooLong(BaseException):
    pass


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item):
    """No test hangs the suite."""
    def ring(*_):
        raise TooLong(f"longer than {LIMIT:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LIMIT)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the daemon's log and the upstream's record of a failed test."""
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for number, daemon in enumerate(getattr(item, "daemons", [])):
        report.sections.append((f"daemon {number}", daemon.tail(120)))
    for number, up in enumerate(getattr(item, "upstreams", [])):
        report.sections.append((f"upstream {number}", up.dump()))


@pytest.fixture
def new_up(request):
    """Makes upstreams; stopped at the end."""
    made = request.node.upstreams = []

    def make(**options):
        up = Upstream(**options)
        made.append(up)
        return up

    yield make
    for up in made:
        up.stop()


@pytest.fixture
def up(new_up):
    return new_up()


@pytest.fixture
def new_entrepot(request, tmp_path, new_up):
    """
    new_entrepot(up, {"key.path": value}, check="0s", ...): a daemon started
    in front of `up` as docker.io, with these options and these options of the
    upstream.  `up` may be a dictionary of name -> Upstream.  start=False
    leaves the start to the test.
    """
    made = request.node.daemons = []

    def make(up=None, options=None, start=True, wrap=(), **upstream):
        folder = tmp_path / f"daemon{len(made)}"
        config = Config(folder / "data")
        ups = up if isinstance(up, dict) else {"docker.io": up}
        for name, one in ups.items():
            if one is not None:
                config.upstream(name, one, **upstream)
        config.options(options or {})
        daemon = Daemon(folder, config, wrap)
        made.append(daemon)
        return daemon.start() if start else daemon

    yield make
    client.close_all()
    problems = []
    for daemon in made:
        try:
            daemon.finish()
        except AssertionError as error:
            problems.append(str(error))
    assert not problems, "\n".join(problems)


@pytest.fixture
def entrepot(new_entrepot, up):
    return new_entrepot(up)


@pytest.fixture
def image():
    """A small image: two layers of 300 and 90 KiB."""
    return content.make_image([300 * 1024, 90 * 1024], "small")


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """A private certificate authority."""
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MiB; needs root, as CI has."""
    folder = tmp_path / "small"
    folder.mkdir()
    image = tmp_path / "small.img"
    with open(image, "wb") as file:
        file.truncate(24 * content.MIB)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", str(image)],
                   check=True, capture_output=True)
    mounted = subprocess.run(["mount", "-o", "loop", str(image), str(folder)],
                             capture_output=True, text=True, check=False)
    if mounted.returncode:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none",
                        str(folder)], check=True, capture_output=True)
    yield folder
    for _ in range(100):
        if subprocess.run(["umount", str(folder)], capture_output=True,
                          check=False).returncode == 0:
            return
        time.sleep(0.05)
    subprocess.run(["umount", "-l", str(folder)], check=True)
