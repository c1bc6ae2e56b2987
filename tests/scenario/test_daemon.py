# SPDX-License-Identifier: Apache-2.0
"""The end of the daemon in the middle of work, and what commands do."""

import signal
import time

import pytest

import client
import content
from client import SLOW, Background
from test_operate import run

NAME = "library/a"


def test_second_signal_cuts(up, entrepot):
    entrepot.may_leave_partials = True
    blob = content.make_blob(content.MIB, "drain")
    up.put_blob(NAME, blob)
    up.fault(kind="cdn", stall_after=400_000)
    held = [entrepot.download(NAME, blob.digest).read(100_000)
            for _ in range(10)]
    entrepot.process.send_signal(signal.SIGTERM)
    entrepot.wait_log("draining")
    assert entrepot.running
    start = time.monotonic()
    entrepot.process.send_signal(signal.SIGINT)
    assert entrepot.wait_exit() == 0
    assert time.monotonic() - start < 3 * SLOW
    for download in held:
        download.leave()


@pytest.mark.parametrize("wait_ms", [0, 10, 30, 100, 200])
def test_stop_in_the_middle_of_everything(up, new_entrepot, wait_ms):
    entrepot = new_entrepot(up, {"server.deadlines.drain": "10ms"},
                            check="always")
    entrepot.may_leave_partials = True
    image = content.make_image([1000])
    up.put_image(NAME, "1", image)
    running = [Background(entrepot.manifest, NAME, "1") for _ in range(8)]
    running.append(Background(entrepot.command, "refresh", NAME))
    for number in range(6):
        blob = content.make_blob(3 * content.MIB, f"busy{number}")
        up.put_blob(NAME, blob)
        running += [Background(entrepot.download(NAME, blob.digest).finish)
                    for _ in range(3)]
    for number in range(4):
        entrepot.config.upstream("docker.io", retries=number + 1)
        entrepot.write_config()
        entrepot.process.send_signal(signal.SIGHUP)
        time.sleep(wait_ms / 4000)
    assert entrepot.stop() == 0
    for one in running:
        try:
            one.join()
        except (OSError, client.Closed, AssertionError):
            pass  # cut, as it should be


def test_refresh_of_all_tags_that_are_held(up, new_entrepot):
    entrepot = new_entrepot(up, check="10m")
    images = [content.make_image([10], f"t{n}") for n in range(3)]
    for number in range(150):  # more than a page
        up.put_image(NAME, f"v{number:03}", images[number % 3])
        assert entrepot.manifest(NAME, f"v{number:03}").status == 200
    new = content.make_image([10], "new")
    up.move_tag(NAME, "v007", new)
    done = entrepot.command("refresh", NAME)
    assert done.returncode == 0, done
    lines = sorted(done.stdout.splitlines())
    assert len(lines) == 150
    assert lines[7] == f"docker.io/{NAME}:v007 {new.digest} fetched"
    assert sum(line.endswith(" unchanged") for line in lines) == 149
    client.check_manifest(entrepot.manifest(NAME, "v007"), new)


def test_refresh_says_what_failed(up, entrepot, image):
    up.put_image(NAME, "1", image)
    entrepot.manifest(NAME, "1")
    done = entrepot.command("refresh", f"{NAME}:none")
    assert done.returncode == 1 and f"{NAME}:none failed: " in done.stdout
    done = entrepot.command("refresh", "library/never-pulled")
    assert done.returncode == 1 and "never-pulled" in done.stderr
    done = entrepot.command("refresh", "unknown.example/a:1")
    assert done.returncode == 1 and "unknown.example" in done.stderr
    up.close()
    done = entrepot.command("refresh", f"{NAME}:1")
    assert done.returncode == 1 and f"{NAME}:1 failed: " in done.stdout


def test_check_judges_a_stopped_store(up, entrepot, image):
    up.put_image(NAME, "1", image)
    client.Docker(entrepot.address).pull(NAME, "1", image)
    for layer in image.layers:
        entrepot.wait_stored(layer)
    done = entrepot.command("check")
    assert done.returncode == 1 and str(entrepot.pid) in done.stderr
    assert entrepot.stop() == 0
    done = entrepot.command("check", "--rehash")
    assert done.returncode == 0 and done.stdout == "0 findings\n", done
    path = entrepot.stored(image.layers[0].digest)
    path.chmod(0o600)
    path.write_bytes(bytes(image.layers[0].size))
    done = entrepot.command("check", "--rehash")
    assert done.returncode == 1, done
    assert image.layers[0].digest in done.stdout


def test_check_makes_no_folder(tmp_path):
    done = run("check", "--data", str(tmp_path / "none"))
    assert done.returncode == 1 and not (tmp_path / "none").exists()


@pytest.mark.parametrize("kind", ["docker", "containerd", "podman", "crio",
                                  "buildkit", "k3s", "kubernetes"])
def test_client_config_has_the_address(kind):
    done = run("client-config", kind, "10.1.2.3:5001")
    assert done.returncode == 0, done
    assert "10.1.2.3:5001" in done.stdout
    assert "mirror.example" not in done.stdout


def test_client_config_of_a_wrong_kind_or_address():
    assert "podman" in run("client-config", "pod").stderr
    for arguments in (["pod"], ["docker", "a b"], [],
                      ["docker", "--listen", "0.0.0.0:5000"]):
        assert run("client-config", *arguments).returncode == 2
