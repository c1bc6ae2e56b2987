# SPDX-License-Identifier: Apache-2.0
"""Starting, stopping, reloading, watching; wrong configuration; commands."""

import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time

import pytest

import client
import content
import push
from client import SLOW, Background
from daemon import BINARY, NotifySocket, parse_metrics, seconds, wait_until

NAME = "library/a"


def run(*arguments, **more):
    return subprocess.run([str(BINARY), *arguments], capture_output=True,
                          text=True, timeout=20 * SLOW, check=False, **more)


# ---- watching ----

def test_healthz_and_readyz_do_not_depend_on_upstreams(up, entrepot):
    up.close()
    for path in ("/healthz", "/readyz"):
        assert entrepot.get(path).status == 200
        assert entrepot.head(path).status == 200


def test_metrics_are_prometheus_text_and_name_no_repository(up, entrepot,
                                                            image):
    up.put_image(NAME, "1", image)
    for _ in range(2):
        client.Docker(entrepot.address).pull(NAME, "1", image)
    response = entrepot.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    text = response.body.decode()
    found = parse_metrics(text)
    assert found and all(k.startswith(("entrepot_", "process_"))
                         for k in found)
    assert NAME not in text and image.digest[7:] not in text
    names = {k.partition("{")[0] for k in found}
    for name in names:
        base = name
        for suffix in ("_bucket", "_sum", "_count"):
            if name.endswith(suffix) and f"# TYPE {name} " not in text:
                base = name[:-len(suffix)]
        assert f"# HELP {base} " in text and f"# TYPE {base} " in text, name
    assert any("hit" in k and v >= 1 for k, v in found.items()), found


def test_metrics_on_a_listener_of_their_own(up, new_entrepot):
    entrepot = new_entrepot(up, {"metrics.listen": ["127.0.0.2:0"]})
    assert entrepot.get("/metrics").status == 404
    other = ("127.0.0.2", entrepot.metrics_ports[0])
    assert client.request(other, "GET", "/metrics").status == 200
    assert client.request(other, "GET", "/v2/").status == 404


def test_one_access_line_a_request(up, entrepot, image):
    up.put_image(NAME, "1", image)
    client.Docker(entrepot.address).pull(NAME, "1", image)
    blob = image.layers[0]
    entrepot.wait_stored(blob)
    entrepot.blob(NAME, blob.digest)
    entrepot.get("/v2/nothing/manifests/%22")
    path = f"/v2/{NAME}/blobs/{blob.digest}"
    lines = wait_until(lambda: len(entrepot.access("GET", path)) >= 2
                       and entrepot.access("GET", path), 3,
                       lambda: entrepot.tail(20))
    assert [e["verdict"] for e in lines] == ["miss", "hit"]
    assert all(e["status"] == "200" and int(e["bytes"]) == blob.size
               for e in lines)
    assert lines[0]["client"].startswith("127.0.0.1")


def test_access_log_of_a_cut_answer_has_the_bytes_sent(up, entrepot):
    blob = content.make_blob(8 * content.MIB)
    up.put_blob(NAME, blob)
    download = entrepot.download(NAME, blob.digest, rcvbuf=8192).read(1000)
    download.leave(reset=True)
    path = f"/v2/{NAME}/blobs/{blob.digest}"
    [line] = wait_until(lambda: entrepot.access("GET", path), 3)
    assert int(line["bytes"]) < blob.size


def waits(entrepot, blob):
    """The last access line about it, as (milliseconds, of these waited)."""
    path = f"/v2/{NAME}/blobs/{blob.digest}"
    line = wait_until(lambda: entrepot.access("GET", path), 3)[-1]
    return float(line["duration"]), int(line["upstream"])


@pytest.mark.parametrize("room", [0, "1000000G"])
def test_access_line_tells_a_slow_upstream_from_a_slow_client(
        up, new_entrepot, room):
    entrepot = new_entrepot(up, {"cache.min_free": room})
    slow, fast = (content.make_blob(8 * content.MIB, n) for n in "ab")
    for blob in (slow, fast):
        up.put_blob(NAME, blob)
    fault = up.fault(kind="cdn", reference=slow.digest,
                     stall_after=1_000_000)
    download = Background(entrepot.blob, NAME, slow.digest)
    up.wait_for(kind="cdn", count=1)
    time.sleep(0.5)
    fault.release()
    client.check_blob(download.join(), slow)
    took, waited = waits(entrepot, slow)
    assert 400 <= waited <= took
    download = entrepot.download(NAME, fast.digest, rcvbuf=8192).read(1000)
    time.sleep(0.5)
    client.check_blob(download.finish(), fast)
    took, waited = waits(entrepot, fast)
    assert took >= 500 and waited < took - 400 / SLOW


def test_hostile_bytes_in_a_request_do_not_break_the_log(entrepot):
    path = "/v2/%0a%0dX%22/manifests/%1b[31m"
    entrepot.get(path)
    entrepot.connect().send(b'GET /"\x7f\\ HTTP/1.1\r\nHost: x\r\n\r\n')
    wait_until(lambda: len(entrepot.access()) >= 2)
    for line in entrepot.log().splitlines():
        assert all(c.isprintable() or c == "\t" for c in line), repr(line)


# ---- stopping and starting ----

def test_sigterm_lets_requests_finish(up, entrepot):
    blob = content.make_blob(content.MIB, "drain")
    up.put_blob(NAME, blob)
    fault = up.fault(kind="cdn", stall_after=400_000)
    download = entrepot.download(NAME, blob.digest).read(100_000)
    idle = entrepot.connect()
    assert idle.get("/v2/").status == 200
    entrepot.process.send_signal(signal.SIGTERM)
    assert idle.is_closed()
    with pytest.raises(ConnectionError):
        for _ in range(200):
            entrepot.connect().close()
            time.sleep(0.01)
    assert entrepot.running
    fault.release()
    assert download.finish().body == blob.data
    assert entrepot.wait_exit() == 0
    entrepot.check_leftovers()


def test_drain_is_bounded(up, new_entrepot):
    entrepot = new_entrepot(up, {"server.deadlines.drain": seconds(0.3)})
    entrepot.may_leave_partials = True
    blob = content.make_blob(content.MIB, "drain")
    up.put_blob(NAME, blob)
    up.fault(kind="cdn", stall_after=400_000)
    entrepot.download(NAME, blob.digest).read(100_000)
    start = time.monotonic()
    assert entrepot.stop() == 0
    assert time.monotonic() - start < 3 * SLOW


def test_sigint_stops_it_too(entrepot):
    entrepot.process.send_signal(signal.SIGINT)
    assert entrepot.wait_exit() == 0


def test_second_daemon_on_one_folder_is_refused_and_told_who(up, entrepot,
                                                             new_entrepot):
    other = new_entrepot(up, {"data": str(entrepot.data)}, start=False)
    other.data = entrepot.data
    other.start(wait=False)
    assert other.wait_exit() not in (0, None)
    assert str(entrepot.pid) in other.log()
    assert entrepot.get("/v2/").status == 200


def test_port_in_use_is_named(up, entrepot, new_entrepot):
    other = new_entrepot(up, {"listen": [f"127.0.0.1:{entrepot.port}"]},
                         start=False)
    other.start(wait=False)
    assert other.wait_exit() not in (0, None)
    assert str(entrepot.port) in other.log()
    assert "ss -ltnp" in other.log()


def test_start_says_what_runs(entrepot):
    version = run("--version").stdout.strip()
    entrepot.wait_log(rf"info {re.escape(version)}: configuration "
                      rf"{entrepot.config_file}, data {entrepot.data}, "
                      "mirrors docker.io")


def test_socket_activation_refuses_no_connection(up, new_entrepot, image):
    up.put_image(NAME, "1", image)
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    entrepot = new_entrepot(up, start=False)
    entrepot.start(listen_fds=[listener])
    assert entrepot.port == listener.getsockname()[1]
    client.check_manifest(entrepot.manifest(NAME, "1"), image)
    entrepot.stop()
    early = Background(entrepot.manifest, NAME, "1")
    time.sleep(0.05)
    entrepot.start(listen_fds=[listener])
    client.check_manifest(early.join(), image)


def test_sd_notify(up, new_entrepot, tmp_path):
    notify = NotifySocket(tmp_path / "notify")
    entrepot = new_entrepot(up, start=False)
    entrepot.env["NOTIFY_SOCKET"] = notify.path
    entrepot.start()
    wait_until(lambda: "READY=1" in notify.lines, 3, lambda: notify.lines)
    entrepot.reload()
    wait_until(lambda: notify.lines.count("READY=1") >= 2 or
               any(l.startswith("RELOADING=") for l in notify.lines), 3,
               lambda: notify.lines)
    entrepot.stop()
    wait_until(lambda: "STOPPING=1" in notify.lines, 3, lambda: notify.lines)
    notify.close()


def test_no_descriptor_is_leaked(up, entrepot):
    def round_of(number):
        image = content.make_image([20_000] * 3, f"fd{number}")
        up.put_image(NAME, str(number), image)
        client.Docker(entrepot.address).pull(NAME, str(number), image)
        entrepot.manifest(NAME, "missing")
        blob = content.make_blob(300_000, f"cut{number}")
        up.put_blob(NAME, blob)
        entrepot.download(NAME, blob.digest).read(10).leave(reset=True)
        entrepot.wait_stored(blob)

    def kinds():
        entrepot.wait_idle()
        return sum(1 for d in entrepot.descriptors().values()
                   if "/blobs/" not in d)

    for number in range(3):
        round_of(number)
    before = kinds()
    for number in range(3, 15):
        round_of(number)
    # The pool of idle upstream connections may still grow by a few; what
    # leaks in each of these twelve rounds is more.
    wait_until(lambda: kinds() <= before + 6, 5,
               lambda: f"{before} descriptors became {kinds()}: "
               f"{entrepot.descriptors()}")


# ---- reloading ----

def test_reload_changes_what_is_marked_reloadable(up, new_entrepot, image):
    entrepot = new_entrepot(up, check="10m")
    up.put_image(NAME, "1", image)
    entrepot.manifest(NAME, "1")
    other = content.make_image([10], "other")
    up.move_tag(NAME, "1", other)
    assert entrepot.manifest(NAME, "1").digest == image.digest
    kept = entrepot.connect()
    assert kept.get("/v2/").status == 200
    entrepot.config.upstream("docker.io", check="always")
    entrepot.reload()
    wait_until(lambda: entrepot.manifest(NAME, "1").digest == other.digest, 3)
    assert kept.get("/v2/").status == 200


def test_reload_adds_an_upstream(new_up, new_entrepot, image):
    hub, quay = new_up(), new_up()
    quay.put_image("org/img", "1", image)
    entrepot = new_entrepot(hub)
    assert entrepot.manifest("quay.io/org/img", "1").status == 404
    entrepot.config.upstream("quay.io", quay)
    entrepot.reload()
    wait_until(lambda: entrepot.manifest("quay.io/org/img", "1").status
               == 200, 3)


def test_reload_of_a_bad_file_changes_nothing(up, entrepot, image):
    up.put_image(NAME, "1", image)
    entrepot.config_file.write_text("{ nonsense")
    before = len(entrepot.whole_log())
    entrepot.process.send_signal(signal.SIGHUP)
    entrepot.wait_log(r"entrepot\.json", since=before)
    client.check_manifest(entrepot.manifest(NAME, "1"), image)


def test_reload_turns_the_access_log_off_and_on(up, entrepot):
    for on in (False, True, False):
        entrepot.config.options({"access_log": on})
        entrepot.reload()
        wait_until(lambda: _is_logged(entrepot) == on, 3)


def _is_logged(entrepot):
    before = len(entrepot.access("GET", "/v2/"))
    entrepot.get("/v2/")
    time.sleep(0.05)
    return len(entrepot.access("GET", "/v2/")) > before


def test_reload_changes_the_level_of_the_log(up, entrepot):
    entrepot.config.options({"log.level": "warn"})
    entrepot.write_config()
    before = len(entrepot.whole_log())
    entrepot.process.send_signal(signal.SIGHUP)
    time.sleep(0.3 * SLOW)
    assert entrepot.log()[before:] == ""
    entrepot.config.options({"log.level": "info"})
    entrepot.reload()


# What a request gets before a reload, the option, and what it gets then.
CHANGES = {
    "max_head": ("/v2/", {"X": "x" * 5000}, 200,
                 {"server.max_head": 4096}, 431),
    "hosted": (f"/v2/{NAME}/manifests/1", {}, 200,
               {"hosted": ["library/*"]}, 404),
    "names": (f"/v2/{NAME}/manifests/1?ns=here:5000", {}, 404,
              {"names": ["here:5000"]}, 200),
    "default_upstream": (f"/v2/{NAME}/manifests/1", {}, 200,
                         {"default_upstream": None}, 404),
    "max_ranges": (f"/v2/{NAME}/blobs/LAYER", {"Range": "bytes=0-1,3-4,6-7"},
                   206, {"server.max_ranges": 2}, 400),
}


@pytest.mark.parametrize("what", CHANGES)
def test_reload_reaches_every_loop(up, entrepot, image, what):
    path, headers, before, options, after = CHANGES[what]
    path = path.replace("LAYER", image.layers[0].digest)
    up.put_image(NAME, "1", image)
    client.Docker(entrepot.address).pull(NAME, "1", image)
    entrepot.wait_stored(image.layers[0])
    many = range(6)
    assert {entrepot.get(path, headers).status for _ in many} == {before}
    entrepot.config.options(options)
    entrepot.reload()
    wait_until(lambda: {entrepot.get(path, headers).status
                        for _ in many} == {after}, 3)


def test_reload_of_min_free_is_honoured(up, entrepot):
    blobs = [content.make_blob(100_000, n) for n in "ab"]
    for blob in blobs:
        up.put_blob(NAME, blob)
    entrepot.blob(NAME, blobs[0].digest)
    entrepot.wait_stored(blobs[0])
    entrepot.config.options({"cache.min_free": "1000000G"})
    entrepot.reload()
    answer = entrepot.blob(NAME, blobs[1].digest)
    client.check_blob(answer, blobs[1])
    assert answer.verdict == "pass" and not entrepot.stored(blobs[1].digest)


def test_reload_names_what_needs_a_restart(up, entrepot):
    entrepot.config.options({"server.loops": 3})
    before = len(entrepot.whole_log())
    entrepot.reload()
    entrepot.wait_log(r"server\.loops", since=before)


def test_requests_under_way_survive_a_reload(up, entrepot):
    blob = content.make_blob(content.MIB, "reload")
    up.put_blob(NAME, blob)
    fault = up.fault(kind="cdn", stall_after=400_000)
    download = entrepot.download(NAME, blob.digest).read(100_000)
    entrepot.config.upstream("docker.io", check="5m")
    for _ in range(3):
        entrepot.reload()
    fault.release()
    assert download.finish().body == blob.data


# ---- configuration ----

BAD = {
    "unknown key": ({"lisen": []}, "lisen", "listen"),
    "unknown key below": ({"server": {"deadlines": {"haed": "1s"}}},
                          "server.deadlines.haed", "head"),
    "wrong type": ({"listen": 5}, "listen", ""),
    "bad duration": ({"server": {"deadlines": {"head": "ten"}}},
                     "server.deadlines.head", "ten"),
    "bad size": ({"cache": {"min_free": "10Q"}}, "cache.min_free", "10Q"),
    "bad address": ({"listen": ["nowhere"]}, "listen", "nowhere"),
    "bad endpoint": ({"upstreams": {"a.example": {"endpoints": ["x"]}}},
                     "endpoints", ""),
    "bad pattern": ({"hosted": ["a//b"]}, "hosted", "a//b"),
    "default upstream unknown": ({"default_upstream": "a.example",
                                  "upstreams": {"b.example": {}}},
                                 "default_upstream", "a.example"),
    "two sources of a password": (
        {"upstreams": {"a.example": {"username": "u", "password": "hush",
                                     "password_file": "/x"}}},
        "password", ""),
    "authority of a webhook that is not there": (
        {"notifications": {"endpoints": [
            {"name": "n", "url": "https://h/", "ca": "/nowhere/ca.pem"}]}},
        "notifications.endpoints[0].ca", "/nowhere/ca.pem"),
    "file that is not there": (
        {"upstreams": {"a.example": {"ca": "/nowhere/ca.pem"}}},
        "ca", "/nowhere/ca.pem"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_configuration_names_file_key_and_what_was_expected(tmp_path,
                                                                case):
    tree, key, hint = BAD[case]
    path = tmp_path / "conf.json"
    tree = {"data": str(tmp_path / "data"), **tree}
    path.write_text(json.dumps(tree))
    for command in ("check-config", "serve"):
        done = run(command, "--config", str(path))
        assert done.returncode == 2, done
        text = done.stdout + done.stderr
        assert str(path) in text and key in text and hint in text, text
        assert "hush" not in text
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("text, hint", [
    ("{", "conf.json"), ("[]", "conf.json"), ("", "conf.json"),
    ('{"data": "/x", "data": "/y"}', "data"),
    ('{"upstreams": {"a.example": {}, "A.example": {}}}', "example")])
def test_file_that_is_no_configuration(tmp_path, text, hint):
    path = tmp_path / "conf.json"
    path.write_text(text)
    done = run("check-config", "--config", str(path))
    assert done.returncode == 2 and hint in done.stderr + done.stdout, done


def test_good_configuration(tmp_path):
    path = tmp_path / "conf.json"
    path.write_text(json.dumps({
        "// why": "a comment", "data": str(tmp_path / "data"),
        "upstreams": {"docker.io": {"// x": 1}, "quay.io": {}}}))
    done = run("check-config", "--config", str(path))
    assert done.returncode == 0, done
    assert not (tmp_path / "data").exists()


def test_missing_configuration_file(tmp_path):
    done = run("check-config", "--config", str(tmp_path / "none.json"))
    assert done.returncode == 2 and "none.json" in done.stderr + done.stdout


@pytest.mark.parametrize("arguments", [
    ["nonsense"], ["serve", "--nonsense"], ["serve", "--listen"],
    ["serve", "stray"], []])
def test_bad_command_line_is_2(arguments):
    done = run(*arguments)
    assert done.returncode == 2 and done.stderr, done


def test_help_and_version():
    help_text = run("--help")
    assert help_text.returncode == 0 and "serve" in help_text.stdout
    assert "check-config" in help_text.stdout
    assert run("-h").stdout == help_text.stdout
    for command in ("serve", "check", "refresh"):
        assert run(command, "-h").stdout == help_text.stdout
    version = run("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("entrepot ")


def test_flags_override_the_file(up, new_entrepot, tmp_path, image):
    entrepot = new_entrepot(None, start=False)
    up.put_image(NAME, "1", image)
    other = tmp_path / "elsewhere"
    entrepot.start(["--data", str(other), "--upstream",
                    f"docker.io={up.url}", "--hosted", "team/**"])
    client.check_manifest(entrepot.manifest(NAME, "1"), image)
    assert (other / "index").exists() and not entrepot.data.exists()
    assert entrepot.manifest("team/app", "1").status == 404


def test_max_bytes_warns_that_nothing_enforces_it(up, new_entrepot):
    entrepot = new_entrepot(up, {"cache.max_bytes": "1G"})
    entrepot.wait_log(r"max_bytes")


def test_check_makes_no_store_where_there_is_none(tmp_path):
    (tmp_path / "photos").mkdir()
    for folder in ("photos", "nowhere"):
        done = run("check", "--data", str(tmp_path / folder))
        assert done.returncode == 1 and folder in done.stderr, done
    assert [p.name for p in tmp_path.rglob("*")] == ["photos"]


# ---- the control socket ----

def test_control_socket_is_private(entrepot):
    path = entrepot.data / "control.sock"
    mode = path.stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) & 0o077 == 0
    assert path.stat().st_uid == os.getuid()


def test_refresh_skips_the_memory_of_a_missing_tag(up, new_entrepot, image):
    entrepot = new_entrepot(up, negative="10m")
    assert entrepot.manifest(NAME, "1").status == 404
    up.put_image(NAME, "1", image)
    assert entrepot.manifest(NAME, "1").status == 404
    done = entrepot.command("refresh", f"{NAME}:1")
    assert done.returncode == 0, done
    client.check_manifest(entrepot.manifest(NAME, "1"), image)


def test_refresh_skips_the_check_period(up, new_entrepot, image):
    entrepot = new_entrepot(up, check="10m")
    up.put_image(NAME, "1", image)
    entrepot.manifest(NAME, "1")
    other = content.make_image([10], "other")
    up.move_tag(NAME, "1", other)
    assert entrepot.manifest(NAME, "1").digest == image.digest
    done = entrepot.command("refresh", f"docker.io/{NAME}:1")
    assert done.returncode == 0, done
    client.check_manifest(entrepot.manifest(NAME, "1"), other)


def test_refresh_of_a_name_asks_for_each_tag_that_is_held(up, new_entrepot):
    entrepot = new_entrepot(up, check="10m")
    images = {tag: content.make_image([10], tag) for tag in ("a", "b", "c")}
    for tag, one in images.items():
        up.put_image(NAME, tag, one)
        entrepot.manifest(NAME, tag)
    moved = content.make_image([10], "moved")
    up.move_tag(NAME, "b", moved)
    del up.repository(NAME).tags["c"]
    done = entrepot.command("refresh", NAME)
    assert sorted(done.stdout.splitlines()) == [
        f"docker.io/{NAME}:a {images['a'].digest} unchanged",
        f"docker.io/{NAME}:b {moved.digest} fetched",
        f"docker.io/{NAME}:c failed: docker.io has no {NAME}:c"]
    assert done.returncode == 1 and "1 of 3" in done.stderr
    assert entrepot.manifest(NAME, "b").digest == moved.digest


def test_refresh_of_a_name_skips_the_memory_of_what_it_lacked(
        up, new_entrepot, image):
    entrepot = new_entrepot(up, negative="10m", list="10m")
    up.put_image("library/b", "1", image)
    assert entrepot.manifest(NAME, "1").status == 404
    assert entrepot.manifest("library/b", "2").status == 404
    up.put_image(NAME, "2", image)
    assert entrepot.get(f"/v2/{NAME}/tags/list").json()["tags"] == ["2"]
    up.put_image(NAME, "1", image)
    up.put_image("library/b", "2", image)
    assert entrepot.manifest(NAME, "1").status == 404
    done = entrepot.command("refresh", NAME)
    assert done.returncode == 1 and "no tag" in done.stderr, done
    client.check_manifest(entrepot.manifest(NAME, "1"), image)
    assert entrepot.get(f"/v2/{NAME}/tags/list").json()["tags"] == ["1", "2"]
    assert entrepot.manifest("library/b", "2").status == 404


def test_refresh_of_a_name_that_is_wrong(entrepot):
    done = entrepot.command("refresh", "Not A Name")
    assert done.returncode == 2 and done.stderr


def test_refresh_without_a_daemon(entrepot):
    entrepot.stop()
    done = entrepot.command("refresh", f"{NAME}:1")
    assert done.returncode not in (0, None) and "running" in done.stderr
    assert "--config" in done.stderr


def test_ls_counts_what_each_repository_holds(up, new_up, new_entrepot, image):
    quay = new_up()
    entrepot = new_entrepot({"docker.io": up, "quay.io": quay})
    assert entrepot.command("ls").stdout == ""
    quay.put_image("org/app", "1", image)
    up.put_image(NAME, "1", image)
    up.put_image(NAME, "2", image)
    other = content.make_image([10], "other")
    up.put_image(NAME, "3", other)
    for tag in ("1", "2", "3"):
        entrepot.manifest(NAME, tag)
    entrepot.manifest("quay.io/org/app", "1")
    entrepot.blob(NAME, other.layers[0].digest)
    entrepot.wait_stored(other.layers[0])
    done = entrepot.command("ls")
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [
        f"docker.io/{NAME}  mirror  tags 3  manifests 2  blobs 1",
        "quay.io/org/app  mirror  tags 1  manifests 1  blobs 0"]


def test_ls_of_many_repositories(up, entrepot, image):
    names = sorted(f"org/app{i}-{'x' * 200}" for i in range(600))
    for name in names:
        up.put_image(name, "1", image)
        assert entrepot.manifest(name, "1").status == 200
    done = entrepot.command("ls")
    assert done.returncode == 0, done
    assert [line.split()[0] for line in done.stdout.splitlines()] == \
        [f"docker.io/{name}" for name in names]


def test_ls_looks_at_a_large_repository_bit_by_bit(entrepot, image):
    pusher = push.Pusher(entrepot, "team/large")
    pusher.push(image)
    for first in range(0, 10_000, 100):
        answer = pusher.put_manifest(
            image, tags=[f"t{i}" for i in range(first, first + 100)])
        assert answer.status == 201, answer
    want = f"team/large  hosted  tags 10000  manifests 1  " \
        f"blobs {len(image.blobs)}  hides docker.io/team/large"
    done = entrepot.command("ls")
    assert done.returncode == 0, done
    assert done.stdout.splitlines() == [want]
    # Between two snapshots it says how far it is, and of how much.
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(5 * SLOW)
        sock.connect(str(entrepot.data / "control.sock"))
        sock.sendall(b"ls\n")
        with sock.makefile() as answer:
            lines = answer.read().splitlines()
    rows = 10_001 + len(image.blobs)
    assert lines == [
        f"% 4096 {rows} tags, manifests and blobs counted",
        f"% 8192 {rows} tags, manifests and blobs counted",
        f"- {want}", "= 0 "]


def test_a_name_that_nobody_hosts_cannot_be_released(up, entrepot, image):
    up.put_image(NAME, "1", image)
    entrepot.manifest(NAME, "1")
    for name in ("team/app", NAME):
        done = entrepot.command("rm", "--release", name)
        assert done.returncode == 1 and name in done.stderr, done
    for words in ((), (NAME,), ("--release",), ("--release", "Not A Name"),
                  ("--release", NAME, NAME)):
        done = entrepot.command("rm", *words)
        assert done.returncode == 2 and done.stderr, words
    assert entrepot.manifest(NAME, "1").verdict == "hit"


def test_control_socket_takes_nonsense(entrepot):
    for data in (b"\0" * 100_000, b"{" * 5000 + b"\n", b"\n", b""):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(5 * SLOW)
        sock.connect(str(entrepot.data / "control.sock"))
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(4096):
                pass
        except OSError:
            pass
        sock.close()
    assert entrepot.get("/v2/").status == 200


def test_what_a_new_index_lacks_is_named_and_no_success(new_entrepot):
    image = content.make_image([1000, 2000], "lacks")
    daemon = new_entrepot(None, {"default_upstream": None})
    push.Pusher(daemon, "team/lacks").push(image, "1")
    client.close_all()
    assert daemon.stop() == 0
    daemon.stored(image.layers[0].digest).unlink()
    done = daemon.command("rebuild")
    assert done.returncode == 1
    assert "a blob that it names is missing" in done.stdout
    assert "2 things could not be taken over" in done.stderr  # and its image
    done = daemon.command("rebuild")  # the journal still tells of it
    assert done.returncode == 1


def test_files_of_which_nothing_tells_are_said(up, new_entrepot):
    """Without its index a mirror goes on, and its files are not forgotten."""
    image = content.make_image([100_000, 2000], "forgotten")
    up.put_image("library/forgotten", "1", image)
    daemon = new_entrepot(up, {"collect.grace": "1s"})
    docker = client.Docker(daemon.address)
    docker.pull("library/forgotten", "1", image)
    for one in image.blobs:
        daemon.wait_stored(one)
    client.close_all()
    assert daemon.stop() == 0
    assert "there was none, and blobs/ has files" not in daemon.log()
    shutil.rmtree(daemon.data / "index")
    daemon.start()
    daemon.wait_log("there was none, and blobs/ has files.*'entrepot rebuild'")
    assert daemon.stop() == 0
    assert daemon.command("check").returncode == 1
    done = daemon.command("rebuild")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "what was mirrored is asked for again" in done.stdout
    daemon.start()
    docker.pull("library/forgotten", "1", image)
    client.close_all()
    assert daemon.stop() == 0
    assert daemon.command("check").returncode == 0
