# SPDX-License-Identifier: Apache-2.0
"""
Coming from another registry: the storage of Docker's registry and OCI image
layouts are taken over while the daemon runs, and go out again.
"""

import gzip
import json
import os
import re
import signal
import subprocess
import tarfile

import pytest

import content
import layouts
from client import Docker, SLOW
from daemon import BINARY, wait_until
from push import Pusher

KIB = 1024
MIB = 1024 * KIB


@pytest.fixture
def old(tmp_path):
    """An empty storage folder of Docker's registry."""
    return layouts.RegistryFolder(tmp_path / "old")


@pytest.fixture
def alone(new_entrepot):
    """A daemon that mirrors nothing: every name may be hosted."""
    return new_entrepot(None, {"default_upstream": None})


def pulls(daemon, name, tag, image, child=0):
    Docker(daemon.address).pull(name, tag, image, child)


def take(daemon, folder, *more, kind="registry-v2", status=0):
    done = daemon.command("import", kind, str(folder), *more, timeout=60)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def tags(daemon, name):
    return daemon.get(f"/v2/{name}/tags/list").json()["tags"]


def names(path):
    return os.stat(path).st_nlink


# ---- Docker's registry ----

def test_storage_of_the_real_registry(tmp_path, alone, image):
    """With every kind of manifest; by hard links, and it still serves."""
    docker = content.make_image([5000, 300 * KIB], "docker", docker=True,
                                compress=True)
    index = content.make_index([content.make_image([70], "amd64"),
                                content.make_image([80], "arm64")])
    empty = content.make_image([content.blob_of(b"")], "empty")
    about = content.make_image([10], "about", subject=image,
                               artifact_type="application/example")
    registry = layouts.Registry(tmp_path)
    try:
        registry.push("team/app", "1", image)
        registry.push("team/app", "latest", image)
        registry.push("docker", "v2", docker)
        registry.push("team/sub/multi", "1", index)
        registry.push("team/app", "empty", empty)
        registry.push("team/app", None, about)
        done = take(alone, registry.folder)
        pulls(alone, "team/app", "1", image)
        pulls(alone, "team/app", "latest", image)
        pulls(alone, "docker", "v2", docker)
        pulls(alone, "team/sub/multi", "1", index, 1)
        pulls(alone, "team/app", "empty", empty)
        referrers = alone.get(f"/v2/team/app/referrers/{image.digest}").json()
        assert [d["digest"] for d in referrers["manifests"]] == [about.digest]
        assert tags(alone, "team/app") == ["1", "empty", "latest"]
        assert " 0 copied" in done.stdout, done.stdout
        for blob in image.layers:
            assert names(alone.stored(blob.digest)) == 2
        assert alone.blob("docker", image.layers[0].digest).status == 404
        # It goes on as it was; so does what was taken, without it.
        assert registry.request(
            "GET", f"/v2/team/app/blobs/{image.layers[0].digest}"
        ).body == image.layers[0].data
    finally:
        registry.stop()
    subprocess.run(["rm", "-rf", str(registry.folder)], check=True)
    pulls(alone, "team/app", "1", image)
    done = alone.command("ls")
    assert "team/sub/multi  hosted  tags 1  manifests 3" in done.stdout


def test_inner_folder_does_too(old, alone, image):
    old.image("team/app", "1", image)
    take(alone, old.base)
    pulls(alone, "team/app", "1", image)


def test_again_is_nothing_to_do(old, alone, image):
    old.image("team/app", "1", image)
    take(alone, old.folder)
    done = take(alone, old.folder)
    assert "0 blobs linked, 0 copied" in done.stdout, done.stdout
    pulls(alone, "team/app", "1", image)


def test_another_disk_is_copied(alone, image):
    folder = f"/dev/shm/test_import.{os.getpid()}"
    old = layouts.RegistryFolder(folder)
    try:
        old.image("team/app", "1", image)
        done = take(alone, folder)
        assert "0 blobs linked, 3 copied" in done.stdout, done.stdout
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)
    pulls(alone, "team/app", "1", image)


def test_folder_that_is_no_registry(tmp_path, alone):
    done = take(alone, tmp_path, status=1)
    assert "no docker/registry/v2" in done.stderr
    done = take(alone, tmp_path / "none", status=1)
    assert "cannot open" in done.stderr
    (tmp_path / "docker/registry/v2/repositories").mkdir(parents=True)
    done = take(alone, tmp_path, status=1)
    assert "no images" in done.stderr


def test_no_daemon(tmp_path, alone, old, image):
    old.image("team/app", "1", image)
    assert alone.stop() == 0
    done = take(alone, old.folder, status=1)
    assert "no daemon is running" in done.stderr


@pytest.mark.parametrize("words", [
    [], ["registry-v2"], ["registry-v3", "x"], ["registry-v2", "x", "name"],
    ["oci", "x", "Name"], ["oci", "x", "name", "more"],
    ["oci", "x", "--as-mirror"], ["registry-v2", "x", "--as-mirror", "a b"],
])
def test_command_line(alone, words):
    done = alone.command("import", *words)
    assert done.returncode == 2, done


@pytest.mark.parametrize("name", ["my/a:t3", "my/a@sha256:" + "0" * 64,
                                  "Bad!"])
def test_what_is_no_name_is_quoted(alone, layout, image, name):
    layout.image(image, ref="1")
    done = take(alone, layout.folder, name, kind="oci", status=2)
    assert done.stderr == f"entrepot: {name} is not NAME: that is a " \
        "repository, such as team/app, without a tag or digest (the images " \
        "keep their tags)\n"


def test_wrong_and_missing_bytes_are_told(old, alone, image):
    """What is sound beside them comes all the same."""
    other = content.make_image([6000, 7000], "other")
    lacks = content.make_image([8000], "lacks")
    old.image("team/app", "1", image)
    old.image("team/bad", "1", other)
    old.image("team/bad", "2", lacks)
    old.data(other.layers[0].digest).write_bytes(b"x" * 6000)
    old.data(lacks.layers[0].digest).unlink()
    done = take(alone, old.folder, status=1)
    assert f"blob {other.layers[0].digest}: its 6000 bytes have the digest " \
        in done.stdout, done.stdout
    for image_, tag in (other, 1), (lacks, 2):
        assert f"team/bad:{tag}: team/bad does not hold " \
            f"{image_.layers[0].digest}" in done.stdout, done.stdout
        assert alone.manifest("team/bad", str(tag)).status == 404
    pulls(alone, "team/app", "1", image)
    # Repaired, the same command brings what it could not.
    old.data(other.layers[0].digest).write_bytes(other.layers[0].data)
    old.data(lacks.layers[0].digest).write_bytes(lacks.layers[0].data)
    take(alone, old.folder)
    pulls(alone, "team/bad", "1", other)
    pulls(alone, "team/bad", "2", lacks)


def test_partial_index_is_taken_and_told(old, alone):
    here = content.make_image([70], "amd64")
    gone = content.make_image([80], "arm64")
    index = content.make_index([here, gone])
    old.image("team/app", "1", index)
    old.data(gone.digest).unlink()
    done = take(alone, old.folder, status=1)
    # Its own revision is there, its file is not.
    assert "its file is missing" in done.stdout
    assert "of the 2 manifests" in done.stdout
    pulls(alone, "team/app", "1", index)


def test_hostile_folders_and_links(old, alone, image, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("do not tell")
    old.image("team/app", "1", image)
    repositories = old.base / "repositories"
    old.link("team/app", "_manifests/tags/rubbish/current", "sha256:../../..")
    old.link("team/app", "_manifests/tags/empty/current", "")
    old.link("team/app", "_manifests/tags/gone/current",
             "sha256:" + "0" * 64)
    old.link("team/app", "_manifests/tags/-x/current", image.digest)
    old.link("team/app", "_manifests/tags/long/current", "x" * 5000)
    old.link("team/app", "_manifests/revisions/sha256/nothex", image.digest)
    old.link("team/app", "_manifests/revisions/sha256/" + "1" * 64,
             image.digest)
    (repositories / "Bad Name/_manifests").mkdir(parents=True)
    (repositories / "a..b/_manifests").mkdir(parents=True)
    (repositories / "loop").symlink_to(repositories)
    away = content.make_image([90], "away")
    old.image("team/away", "1", away)
    old.data(away.layers[0].digest).unlink()
    old.data(away.layers[0].digest).symlink_to(secret)
    done = take(alone, old.folder, status=1)
    for what in ("tags/rubbish/current/link: it holds no digest",
                 "tags/empty/current/link: it holds no digest",
                 "tags/gone/current/link: the manifest that it names has been "
                 "deleted", "tags/-x/current/link: that is no tag",
                 "tags/long/current/link: it has 5000 bytes",
                 "nothex/link: that is no digest",
                 "/link: it names another digest",
                 "repositories/Bad Name is no repository's name",
                 "repositories/a..b is no repository's name",
                 "repositories/loop"):
        assert what in done.stdout, (what, done.stdout)
    assert "do not tell" not in done.stdout
    assert tags(alone, "team/app") == ["1"]
    pulls(alone, "team/app", "1", image)
    assert alone.manifest("team/away", "1").status == 404


def test_tag_that_was_moved_here_since_stays(old, alone, image):
    newer = content.make_image([4000], "newer")
    old.image("team/app", "1", image)
    layouts.push(alone, "team/app", "1", newer)
    done = take(alone, old.folder, status=1)
    assert f"team/app:1 is {newer.digest} here and {image.digest} there; " \
        "--move-tags" in done.stdout
    pulls(alone, "team/app", "1", newer)
    # Its manifest came none the less.
    assert alone.manifest("team/app", image.digest).status == 200
    take(alone, old.folder, "--move-tags")
    pulls(alone, "team/app", "1", image)


def test_immutable_tag_stays(old, new_entrepot, image):
    daemon = new_entrepot(None, {
        "default_upstream": None,
        "immutable_tags": [{"repo": "team/**", "tags": "*"}]})
    first = content.make_image([4000], "first")
    old.image("team/app", "1", image)
    layouts.push(daemon, "team/app", "1", first)
    done = take(daemon, old.folder, "--move-tags", status=1)
    assert "immutable" in done.stdout
    pulls(daemon, "team/app", "1", first)


def test_manifest_without_its_blobs_where_that_is_allowed(old, new_entrepot,
                                                          image):
    daemon = new_entrepot(None, {"default_upstream": None,
                                 "allow_sparse": ["thin/**"]})
    old.image("thin/app", "1", image, blobs=False)
    take(daemon, old.folder)
    assert daemon.manifest("thin/app", "1").body == image.data


def test_names_that_have_another_owner_are_listed(up, new_up, new_entrepot,
                                                  old, image):
    """Before anything is copied; none is skipped silently."""
    daemon = new_entrepot({"docker.io": up, "quay.io": new_up()})
    for name in ("library/app", "quay.io/org/app", "other.example/org/app",
                 "localhost/app", "team/app", "solo"):
        old.image(name, "1", image)
    done = take(daemon, old.folder, status=1)
    lines = done.stdout.splitlines()
    for line in (
            'left: library/app is a mirror of docker.io/library/app here; '
            '"hosted": ["library/app"] would host it, or --as-mirror '
            'docker.io would take it',
            'left: quay.io/org/app is a mirror of quay.io/org/app here; '
            '--as-mirror quay.io would take it',
            'left: other.example/org/app begins with another registry\'s '
            'host; "hosted": ["other.example/**"] would host it, or '
            '--as-mirror other.example would take it, with "upstreams": '
            '{"other.example": {}}',
            'left: localhost/app begins with another registry\'s host; '
            '"hosted": ["localhost/**"] would host it, or --as-mirror '
            'localhost would take it, with "upstreams": {"localhost": {}}'):
        assert line in lines, (line, lines)
    assert "4 repositories were left" in done.stderr
    pulls(daemon, "team/app", "1", image)
    pulls(daemon, "solo", "1", image)
    assert not up.requests()  # claimed: nobody upstream is asked any more
    assert "solo will be hosted here and hide docker.io/library/solo; " \
        "entrepot rm --release undoes it once it is empty" in lines
    # The line does what it says.
    daemon.config.options({"hosted": ["library/app", "other.example/**",
                                      "localhost/**"]})
    daemon.reload()
    done = take(daemon, old.folder, status=1)
    assert "1 repository was left, 0 things failed" in done.stderr
    pulls(daemon, "library/app", "1", image)
    pulls(daemon, "other.example/org/app", "1", image)


# ---- as a mirror ----

def test_pull_through_cache_of_the_real_registry(tmp_path, up, new_entrepot,
                                                 image):
    """Its scheduler-state.json tells; then it is pulled with no network."""
    up.put_image("library/app", "1", image)
    registry = layouts.Registry(tmp_path, proxy=up.url)
    try:
        accept = {"Accept": content.OCI_MANIFEST}
        assert registry.request("GET", "/v2/library/app/manifests/1",
                                accept).status == 200
        for blob in image.blobs:
            assert registry.request(
                "GET", f"/v2/library/app/blobs/{blob.digest}"
            ).body == blob.data
        wait_until(lambda: all(
            (registry.folder / "docker/registry/v2/blobs/sha256"
             / b.digest[7:9] / b.digest[7:] / "data").exists()
            for b in image.blobs), 10)
        # It writes this every five seconds.
        wait_until((registry.folder / "scheduler-state.json").exists, 15)
    finally:
        registry.stop()
    up.close()
    daemon = new_entrepot(up)
    done = take(daemon, registry.folder, status=1)
    assert "pull-through cache" in done.stderr and \
        "--as-mirror docker.io" in done.stderr
    assert daemon.manifest("library/app", "1").status >= 500
    done = take(daemon, registry.folder, "--as-mirror", "docker.io")
    pulls(daemon, "app", "1", image)
    pulls(daemon, "library/app", "1", image)
    assert "hosted" not in daemon.command("ls").stdout


def test_as_mirror_of_what_is_no_upstream(old, entrepot, image):
    old.image("team/app", "1", image)
    done = take(entrepot, old.folder, "--as-mirror=quay.io", status=1)
    assert '"upstreams": {"quay.io": {}}' in done.stderr
    assert entrepot.command("ls").stdout == ""


def test_mirror_goes_on_from_what_was_brought(up, old, new_entrepot, image):
    """A part of an image is taken; the rest comes from upstream, when it is
    asked for."""
    up.put_image("team/app", "1", image)
    old.image("team/app", "1", image)
    old.data(image.layers[0].digest).unlink()
    daemon = new_entrepot(up)
    done = take(daemon, old.folder, "--as-mirror", "docker.io")
    assert "1 is not there" in done.stdout
    pulls(daemon, "team/app", "1", image)
    assert up.fetches(image.layers[0].digest)
    assert not up.fetches(image.layers[1].digest)


# ---- in the middle ----

def slow_store(old):
    """Enough small blobs that one can come in between."""
    images = [content.make_image([2000 + i, 3000 + i], f"many{i}")
              for i in range(40)]
    for i, image in enumerate(images):
        old.image(f"team/app{i % 7}", str(i), image)
    return images


def begin(daemon, folder):
    """It heeds SIGINT, also where a script has started us in the background,
    which means to ignore it."""
    return subprocess.Popen(
        ["env", "--default-signal=INT", str(BINARY), "import", "--config",
         str(daemon.config_file), "registry-v2", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=daemon._environment())


def some_came(daemon):
    return len(list((daemon.data / "blobs/sha256").rglob("*/*"))) > 5


def hold_in_the_middle(daemon):
    """Stop it where some has come, and stay there until let_go()."""
    def held():
        os.kill(daemon.pid, signal.SIGSTOP)
        if some_came(daemon):
            return True
        let_go(daemon)
        return False
    wait_until(held, 10)


def let_go(daemon):
    os.kill(daemon.pid, signal.SIGCONT)


def pull_many(daemon, images):
    for i, image in enumerate(images):
        pulls(daemon, f"team/app{i % 7}", str(i), image)


def test_killed_in_the_middle_it_goes_on(old, alone):
    images = slow_store(old)
    running = begin(alone, old.folder)
    hold_in_the_middle(alone)
    alone.kill()
    out, err = running.communicate(timeout=20 * SLOW)
    assert running.returncode == 1 and "ended before" in err, (out, err)
    alone.start()
    done = take(alone, old.folder)
    assert "; 0 pieces were here already" not in done.stdout
    pull_many(alone, images)


def test_ended_by_its_user_it_goes_on(old, alone):
    images = slow_store(old)
    running = begin(alone, old.folder)
    hold_in_the_middle(alone)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20 * SLOW)
    let_go(alone)
    alone.wait_log("import: cut off by its client", timeout=10)
    take(alone, old.folder)
    pull_many(alone, images)


def test_stop_of_the_daemon_ends_it(old, alone):
    slow_store(old)
    running = begin(alone, old.folder)
    hold_in_the_middle(alone)
    alone.process.send_signal(signal.SIGTERM)
    let_go(alone)
    assert alone.wait_exit() == 0
    running.communicate(timeout=20 * SLOW)
    assert running.returncode == 1
    alone.check_leftovers()


def test_pulls_and_pushes_go_on_meanwhile(old, alone, image):
    slow_store(old)
    running = begin(alone, old.folder)
    wait_until(lambda: some_came(alone), 10)
    layouts.push(alone, "mine", "1", image)
    pulls(alone, "mine", "1", image)
    out, err = running.communicate(timeout=60 * SLOW)
    assert running.returncode == 0, (out, err)


def on_a_terminal(daemon, *words):
    """What the command writes where stderr is one; its stdout is not."""
    ours, its = os.openpty()
    running = subprocess.Popen(
        [str(BINARY), words[0], "--config", str(daemon.config_file),
         *map(str, words[1:])], stdout=subprocess.PIPE, stderr=its,
        env=daemon._environment())
    os.close(its)
    seen = b""
    try:
        while data := os.read(ours, 4096):
            seen += data
    except OSError:
        pass  # nobody has the other end any more
    os.close(ours)
    out, _ = running.communicate(timeout=60 * SLOW)
    assert running.returncode == 0, (out, seen)
    assert b"\033" not in out and b"[#" not in out
    return seen.decode()


BAR = re.compile(r"\r\[(#*)(\.*)\] (\d+) of (\d+)  [^\r]*\033\[K\r")


def test_a_bar_shows_how_far_it_is(old, alone, tmp_path):
    """On a terminal; the last thing there is that it is wiped away."""
    slow_store(old)
    for words in (("import", "registry-v2", old.folder),
                  ("export", "oci", "team/app0", tmp_path / "out.tar")):
        text = on_a_terminal(alone, *words)
        bars = BAR.findall(text)
        assert bars, text
        for full, empty, done, of in bars:
            assert len(full) + len(empty) == 30
            assert int(done) <= int(of)
            assert not int(of) or len(full) == 30 * int(done) // int(of)
        done = [int(bar[2]) for bar in bars]
        assert done == sorted(done)
        assert text.endswith("\033[K")
    # Where it is none, there is nothing of it.
    again = take(alone, old.folder)
    assert "\r" not in again.stderr + again.stdout


# ---- OCI image layouts ----

@pytest.fixture
def layout(tmp_path):
    return layouts.OciFolder(tmp_path / "layout")


FORMS = {"folder": None, "gnu": (tarfile.GNU_FORMAT, "."),
         "pax": (tarfile.PAX_FORMAT, "."), "plain": (tarfile.PAX_FORMAT, "")}


@pytest.mark.parametrize("form", FORMS)
def test_layout_in_a_folder_or_a_tar_file(tmp_path, alone, layout, image, form):
    sha512 = content.make_image([5000], "sha512", alg="sha512")
    index = content.make_index([content.make_image([70], "amd64"),
                                content.make_image([80], "arm64")])
    layout.image(image, ref="team/app:1")
    layout.image(index, ref="team/multi:latest")
    layout.image(sha512, ref="team/other")
    what = layout.folder
    if FORMS[form]:
        what = layout.tar(tmp_path / "layout.tar", *FORMS[form])
    done = take(alone, what, kind="oci")
    if FORMS[form]:
        assert " 0 blobs linked" in done.stdout
    pulls(alone, "team/app", "1", image)
    pulls(alone, "team/multi", "latest", index, 1)
    assert alone.manifest("team/other", sha512.digest).body == sha512.data
    assert "0 copied" in take(alone, what, kind="oci").stdout


def skopeo(*words):
    done = subprocess.run(["skopeo", "--insecure-policy", *words],
                          capture_output=True, text=True, check=False,
                          timeout=60 * SLOW)
    assert done.returncode == 0, done.stderr


def test_layout_made_by_skopeo(tmp_path, alone):
    image = content.make_image([5000, 300 * KIB], "zipped", compress=True)
    registry = layouts.Registry(tmp_path)
    source = f"docker://127.0.0.1:{registry.port}/team/app:1"
    try:
        registry.push("team/app", "1", image)
        for kind in "oci", "oci-archive":
            skopeo("copy", "--src-tls-verify=false", source,
                   f"{kind}:{tmp_path}/{kind}:latest")
    finally:
        registry.stop()
    done = take(alone, tmp_path / "oci", kind="oci", status=1)
    assert f"{image.digest}, tag latest has no name" in done.stdout
    take(alone, tmp_path / "oci", "team/one", kind="oci")
    pulls(alone, "team/one", "latest", image)
    take(alone, tmp_path / "oci-archive", "team/two", kind="oci")
    pulls(alone, "team/two", "latest", image)


def test_names_by_containerds_annotation(alone, layout, image):
    """As docker save and nerdctl write them: the tag alone is the name."""
    layout.image(image, ref="3", containerd="team/app:3")
    take(alone, layout.folder, kind="oci")
    pulls(alone, "team/app", "3", image)


@pytest.mark.parametrize("ref, name, other", [
    ("localhost/myapp:1", "myapp",
     '"hosted": ["localhost/**"] would host it by this one, or'),
    ("127.0.0.1:5100/team/pod:1", "team/pod", "or"),
    # library/ is a mirror's, so it takes another name.
    ("localhost/library/app:1", "NAME",
     '"hosted": ["localhost/**"] would host it by this one, or'),
])
def test_name_in_place_of_another_registrys(new_entrepot, up, layout, image,
                                            ref, name, other):
    """As podman save writes it: the simple way is said first, and is one."""
    daemon = new_entrepot(up)
    layout.image(image, ref=ref)
    done = take(daemon, layout.folder, kind="oci", status=1)
    host = ref.split("/")[0]
    assert f"; entrepot import oci ... {name} would host it by that name, " \
        f"{other} --as-mirror {host} would take it" in done.stdout, done.stdout
    if name == "NAME":
        name = "team/own"
    take(daemon, layout.folder, name, kind="oci")
    pulls(daemon, name, "1", image)


def test_name_replaces_all_names(new_entrepot, up, layout, image):
    """Of a layout with several, it would make one; so it is not proposed."""
    second = content.make_image([300], "second")
    nameless = content.make_image([400], "nameless")
    daemon = new_entrepot(up)
    layout.image(image, ref="localhost/one:1")
    layout.image(second, ref="localhost/two:2")
    layout.image(nameless, ref="3")
    done = take(daemon, layout.folder, kind="oci", status=1)
    left = [line for line in done.stdout.splitlines() if "left: " in line]
    assert len(left) == 2, done.stdout
    assert not [line for line in left if "import oci" in line], left
    take(daemon, layout.folder, "team/app", kind="oci")
    for tag, brought in ("1", image), ("2", second), ("3", nameless):
        pulls(daemon, "team/app", tag, brought)


def test_referrers_of_a_layout_follow_their_subject(alone, layout, image):
    """As oras and regctl write them: entries without a name."""
    about = content.make_image([10], "about", subject=image,
                               artifact_type="application/example")
    of_that = content.make_image([11], "more", subject=about,
                                 artifact_type="application/example")
    stray = content.make_image([12], "stray")
    layout.image(of_that)
    layout.image(about)
    layout.image(image, ref="team/app:1")
    take(alone, layout.folder, kind="oci")
    for subject, referrer in (image, about), (about, of_that):
        listed = alone.get(f"/v2/team/app/referrers/{subject.digest}").json()
        assert [d["digest"] for d in listed["manifests"]] == [referrer.digest]
    layout.image(stray)
    done = take(alone, layout.folder, kind="oci", status=1)
    assert f"{stray.digest} has no name" in done.stdout


def test_layouts_that_are_wrong(tmp_path, alone, layout, image):
    done = take(alone, layout.folder, kind="oci", status=1)
    assert "no index.json" in done.stderr
    index = layout.folder / "index.json"
    for text, what in [("{", "index.json:"), ("[]", "no list of manifests"),
                       ('{"manifests": 3}', "no list of manifests"),
                       ('{"manifests": []}', "no images"),
                       ('{"manifests": [], "manifests": []}', "duplicate"),
                       ("\xff", "index.json"),
                       ('{"manifests": [' + "1," * 8400000 + "1]}",
                        "and at most 16777216 are taken")]:
        index.write_text(text, encoding="latin-1")
        done = take(alone, layout.folder, kind="oci", status=1)
        assert what in done.stderr, (text[:40], done.stderr)
    layout.content(image)
    layout.entry(image, ref="../../etc:1")
    layout.entry(image, ref="Team/app:1")
    layout.entry(image, ref="team/app@sha256:" + "0" * 64)
    layout.entries.append({"digest": "sha256:../../x", "size": 1})
    layout.entries.append({"size": 1})
    layout.entries.append(3)
    layout.entry(image, ref="team/app:good")
    done = take(alone, layout.folder, kind="oci", status=1)
    for what in ("../../etc:1 is no name", "Team/app:1 is no name",
                 "@sha256:0000000000000000000000000000000000000000000000000"
                 "000000000000000 is no name",
                 "an entry's digest is sha256:../../x",
                 "an entry's digest is missing"):
        assert what in done.stdout, (what, done.stdout)
    assert tags(alone, "team/app") == ["good"]


def test_archives_that_are_wrong(tmp_path, alone, layout, image):
    layout.image(image, ref="team/app:1")
    tar = layout.tar(tmp_path / "layout.tar")
    data = tar.read_bytes()
    bad = tmp_path / "bad.tar"
    for wrong, what in [(b"", "no index.json"), (b"x" * 2000, "no tar"),
                        (gzip.compress(data), "unpacked first")]:
        bad.write_bytes(wrong)
        done = take(alone, bad, kind="oci", status=1)
        assert what in done.stderr, (what, done.stderr)
    with tarfile.open(bad, "w") as out:
        layouts.add_bytes(out, "first", b"1")
        layouts.add_bytes(out, "second", b"2")
    wrong = bytearray(bad.read_bytes())
    wrong[1030] ^= 1
    bad.write_bytes(wrong)
    done = take(alone, bad, kind="oci", status=1)
    assert f"no tar archive at byte 1024 of {len(wrong)}, but was one until " \
        "there" in done.stderr
    assert "unpacked" not in done.stderr
    os.mkfifo(tmp_path / "fifo")
    done = take(alone, tmp_path / "fifo", kind="oci", status=1)
    assert "a folder or a file" in done.stderr
    # A layer of it that is not what its name says.
    at = data.index(image.layers[0].data[:100])
    bad.write_bytes(data[:at] + b"!" + data[at + 1:])
    done = take(alone, bad, kind="oci", status=1)
    assert f"blob {image.layers[0].digest}: its " in done.stdout
    assert alone.manifest("team/app", "1").status == 404
    # Names that lead out, and ones that only look like a blob's.
    with tarfile.open(bad, "w") as out:
        layouts.add_bytes(out, "../../../index.json", b"{}")
        layouts.add_bytes(out, "blobs/sha256/../../../../etc/passwd", b"x")
        layouts.add_bytes(out, "/blobs/sha256/" + "0" * 64, b"x")
        out.add(layout.folder, arcname=".")
    take(alone, bad, kind="oci")
    pulls(alone, "team/app", "1", image)


def test_archive_that_ends_early(tmp_path, alone, layout, image):
    """A copy that was broken off says so, wherever the cut is."""
    layout.image(image, ref="team/app:1")
    bad = tmp_path / "bad.tar"
    blob = image.layers[0]
    name = f"blobs/sha256/{blob.digest[7:]}"
    for form in tarfile.GNU_FORMAT, tarfile.PAX_FORMAT:
        with tarfile.open(bad, "w", format=form) as out:
            layouts.add_bytes(out, name, blob.data)
            out.add(layout.folder, arcname=".")
        data = bad.read_bytes()
        whole = 512 + len(blob.data)
        for end in 512, 513, whole - 1:
            bad.write_bytes(data[:end])
            done = take(alone, bad, kind="oci", status=1)
            assert f"the archive ends early, at byte {end}: {name} begins at " \
                f"byte 512 and has {len(blob.data)} bytes, so it should have " \
                f"{whole} at least" in done.stderr, (end, done.stderr)
        # Between two entries, and within a header.
        for end in whole, whole + -whole % 512, whole + -whole % 512 + 100:
            bad.write_bytes(data[:end])
            done = take(alone, bad, kind="oci", status=1)
            assert f"the archive ends early, at byte {end}: neither an " \
                "index.json is in it" in done.stderr, (end, done.stderr)
    # A pax record that gives a length which no file can have.
    info = tarfile.TarInfo("blobs/sha256/" + "0" * 64)
    info.size = 2 ** 64 - 1
    bad.write_bytes(info.tobuf(tarfile.PAX_FORMAT) + b"x" * 2000)
    done = take(alone, bad, kind="oci", status=1)
    assert "no tar archive at byte 1536 of 3536" in done.stderr, done.stderr
    # Cut behind the last entry, it is whole enough.
    tar = layout.tar(bad)
    with tarfile.open(tar) as archive:
        end = max(m.offset_data + m.size for m in archive.getmembers())
    bad.write_bytes(tar.read_bytes()[:end])
    take(alone, bad, kind="oci")
    pulls(alone, "team/app", "1", image)


def test_layout_as_a_mirrors(up, new_up, new_entrepot, layout, image):
    """Images for a site without a network: pulled as if they had been before,
    while those of another registry are left to their own command."""
    quay = new_up()
    layout.image(image, ref="docker.io/library/app:1")
    layout.entry(image, ref="quay.io/org/app:1")
    daemon = new_entrepot({"docker.io": up, "quay.io": quay})
    up.close()
    quay.close()
    done = take(daemon, layout.folder, kind="oci", status=1)
    assert "docker.io/library/app is a mirror" in done.stdout
    assert "2 repositories were left" in done.stderr
    done = take(daemon, layout.folder, "--as-mirror", "docker.io", kind="oci",
                status=1)
    assert "quay.io/org/app is not of docker.io; --as-mirror quay.io would " \
        "take it" in done.stdout
    take(daemon, layout.folder, "--as-mirror", "quay.io", kind="oci", status=1)
    pulls(daemon, "app", "1", image)
    pulls(daemon, "quay.io/org/app", "1", image)


def test_tag_brought_to_a_mirror_is_checked_again(up, new_entrepot, layout,
                                                  image):
    """What was brought is as old as it is: upstream is asked, if it is
    there."""
    newer = content.make_image([4000], "newer")
    up.put_image("library/app", "1", newer)
    layout.image(image, ref="docker.io/library/app:1")
    daemon = new_entrepot(up, check="always")
    take(daemon, layout.folder, "--as-mirror", "docker.io", kind="oci")
    pulls(daemon, "app", "1", newer)


# ---- out again ----

def give(daemon, *words, status=0):
    done = daemon.command("export", "oci", *map(str, words), timeout=60)
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def files_of(tar):
    with tarfile.open(tar) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive}


def test_round_trip_to_another_daemon(tmp_path, alone, new_entrepot, image):
    """Every kind of manifest, with what refers to it, byte for byte."""
    sha512 = content.make_image([5000], "sha512", alg="sha512")
    index = content.make_index([content.make_image([70], "amd64"),
                                content.make_image([80], "arm64")])
    about = content.make_image([10], "about", subject=image,
                               artifact_type="application/example")
    of_that = content.make_image([11], "more", subject=about)
    of_child = content.make_image([12], "child", subject=index.children[1])
    large = content.make_image([13], "large", pad=300 * KIB)
    for child in index.children:
        layouts.push(alone, "team/app", None, child)
    for name, tag, one in [("team/app", "1", image), ("team/app", "2", index),
                           ("team/app", None, about), ("solo", "x", large),
                           ("team/app", None, of_that),
                           ("team/app", None, of_child),
                           ("team/other", None, sha512),
                           ("team/unasked", "1", image)]:
        layouts.push(alone, name, tag, one)
    tar = tmp_path / "out.tar"
    give(alone, "team/app", "solo:x", f"team/other@{sha512.digest}", tar)
    other = new_entrepot(None, {"default_upstream": None})
    take(other, tar, kind="oci")
    pulls(other, "team/app", "1", image)
    pulls(other, "team/app", "2", index, 0)
    pulls(other, "team/app", "2", index, 1)
    pulls(other, "solo", "x", large)
    assert other.manifest("team/other", sha512.digest).body == sha512.data
    assert other.manifest("team/other", "latest").status == 404
    assert other.manifest("team/unasked", "1").status == 404
    for subject, one in [(image, about), (about, of_that),
                         (index.children[1], of_child)]:
        path = f"/v2/team/app/referrers/{subject.digest}"
        assert other.get(path).json() == alone.get(path).json()
        assert one.digest in other.get(path).body.decode()
    # The same again is the same file: nothing in it tells when it was made.
    again = tmp_path / "again.tar"
    give(other, "team/app", "solo:x", f"team/other@{sha512.digest}", again)
    assert files_of(again).keys() == files_of(tar).keys()
    assert not list(tmp_path.glob("*.part"))


def test_export_is_a_layout_for_others(tmp_path, alone):
    image = content.make_image([5000, 300 * KIB], "zipped", compress=True)
    layouts.push(alone, "team/app", "1", image)
    tar = tmp_path / "out.tar"
    give(alone, "team/app:1", tar)
    files = files_of(tar)
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert content.digest_of(data) == name[6:].replace("/", ":")
    assert json.loads(files["index.json"])["manifests"] == [
        image.descriptor(annotations={layouts.REF: "team/app:1"})]
    skopeo("copy", f"oci-archive:{tar}:team/app:1", f"dir:{tmp_path}/dir")
    assert (tmp_path / "dir/manifest.json").read_bytes() == image.data


def test_mirrored_image_goes_to_a_site_without_a_network(tmp_path, up,
                                                         new_entrepot):
    """With the platforms that were pulled, and none of the others."""
    index = content.make_index([content.make_image([70], "amd64"),
                                content.make_image([80], "arm64")])
    up.put_image("library/app", "1", index)
    here = new_entrepot(up)
    pulls(here, "library/app", "1", index, 0)
    # A blob's last byte leaves before its commit is even queued.
    wait_until(lambda: not here.metrics()["entrepot_flights"])
    here.wait_committed()
    tar = tmp_path / "out.tar"
    give(here, "app:1", tar)
    up.close()
    names_ = files_of(tar)
    assert f"blobs/sha256/{index.children[0].digest[7:]}" in names_
    assert f"blobs/sha256/{index.children[1].digest[7:]}" not in names_
    there = new_entrepot(up)
    done = take(there, tar, "--as-mirror", "docker.io", kind="oci")
    assert "1 is not there" in done.stdout
    pulls(there, "app", "1", index, 0)
    answer = there.manifest("library/app", "1")
    assert answer.body == index.data


def test_index_that_names_another_again_and_again(tmp_path, alone, image):
    """Seven deep, each a hundred times: walked once, on both ways."""
    layouts.push(alone, "team/app", "1", image)
    pusher = Pusher(alone, "team/app")
    index = image
    for _ in range(7):
        index = content.make_index([index] * 100)
        assert pusher.put_manifest(index).status == 201
    assert pusher.put_manifest(index, "deep").status == 201
    lost = content.make_image([77], "lost")
    for _ in range(7):
        lost = content.make_index([lost] * 100)
        assert pusher.put_manifest(lost).status == 201
    tar = tmp_path / "out.tar"
    done = give(alone, f"team/app@{lost.digest}", tar, status=1)
    assert "is not held whole" in done.stdout
    give(alone, "team/app:deep", tar)
    assert len(files_of(tar)) == 2 + 7 + 1 + len(image.blobs)
    take(alone, tar, kind="oci")


def test_layout_of_very_many_names(alone, layout, image):
    """As long as an export may make one: test_export_of_more_names..."""
    layout.image(image, ref="team/app:1")
    layout.entries[0]["annotations"]["note"] = "n" * (16 * MIB - 2000)
    layout.write()
    take(alone, layout.folder, kind="oci")
    pulls(alone, "team/app", "1", image)


def test_layout_that_lists_one_manifest_very_often(alone, layout, image):
    """Its bytes are read a few times, not for each entry without a name."""
    about = content.make_image([10], "about", subject=image, pad=1_000_000)
    layout.image(image, ref="team/app:1")
    layout.content(about)
    layout.entries += [about.descriptor()] * 20_000
    layout.write()
    take(alone, layout.folder, kind="oci")
    listed = alone.get(f"/v2/team/app/referrers/{image.digest}").json()
    assert [one["digest"] for one in listed["manifests"]] == [about.digest]


def push_names(daemon, name, image, names):
    """All of these tags, as many at a time as a request may bring."""
    pusher = Pusher(daemon, name)
    pusher.push(image)
    for at in range(0, len(names), 100):
        answer = pusher.put_manifest(image, tags=names[at:at + 100])
        assert answer.status == 201, answer


def test_export_of_more_names_than_import_takes(tmp_path, alone, image):
    """Told before anything is written."""
    name = "/".join(["team"] + ["n" * 116] * 2)
    names = [f"{i:05}" + "t" * 35 for i in range(18_000)]
    push_names(alone, name, image, names)
    push_names(alone, name + "/more", image, names)
    tar = tmp_path / "out.tar"
    done = give(alone, name, name + "/more", tar, status=1)
    assert "its 36000 names, and import takes at most 16777216: export " \
        "fewer names at a time" in done.stderr, done.stderr
    assert not list(tmp_path.glob("out.tar*"))
    give(alone, name, tar)
    index = files_of(tar)["index.json"]
    assert 8 * MIB < len(index) < 16 * MIB
    assert len(json.loads(index)["manifests"]) == len(names)


def test_what_is_not_whole_is_not_exported(tmp_path, up, new_entrepot, image):
    other = content.make_image([6000], "other")
    up.put_image("library/app", "1", other)
    daemon = new_entrepot(up)
    daemon.learn("library/app", "1", other)
    layouts.push(daemon, "team/app", "1", image)
    tar = tmp_path / "out.tar"
    tar.write_text("mine")
    for name, what in [("docker.io/app:1", "app:1 is not held whole"),
                       ("team/app:2", "team/app:2: there is no such tag"),
                       ("team/none", "nothing of docker.io/team/none is here"),
                       ("team/app@sha256:" + "0" * 64, "is not held whole"),
                       ("other.example/x:1", "not a configured upstream"),
                       ("../x", "is not NAME"), ("team/app:-", "is not NAME"),
                       ("team/app@sha256:0", "is not NAME")]:
        done = give(daemon, "team/app:1", name, tar, status=1)
        assert what in done.stdout, (what, done.stdout)
    assert tar.read_text() == "mine"
    assert not list(tmp_path.glob("*.part"))
    give(daemon, "team/app:1", tar)
    assert len(files_of(tar)) == 6


def test_blob_that_has_rotted_is_not_exported(tmp_path, alone, image):
    layouts.push(alone, "team/app", "1", image)
    path = alone.stored(image.layers[0].digest)
    path.write_bytes(b"rot" + image.layers[0].data[3:])
    tar = tmp_path / "out.tar"
    done = give(alone, "team/app", tar, status=1)
    assert f"{image.layers[0].digest} have another digest" in done.stderr
    assert not tar.exists()
    path.write_bytes(image.layers[0].data)


def test_export_command_line(tmp_path, alone):
    for words in [], ["oci"], ["oci", "name"], ["tar", "name", "file"]:
        assert alone.command("export", *words).returncode == 2
    done = give(alone, "name", tmp_path / "none/file", status=1)
    assert "cannot make" in done.stderr


def test_what_was_imported_outlives_the_index(old, alone, image):
    """It is journalled as a push is."""
    about = content.make_image([10], "about", subject=image)
    old.image("team/app", "1", image)
    old.image("team/app", None, about)
    take(alone, old.folder)
    alone.stop()
    subprocess.run(["rm", "-rf", str(alone.data / "index"),
                    str(old.folder)], check=True)
    done = alone.command("rebuild", "--rehash")
    assert done.returncode == 0, (done.stdout, done.stderr)
    alone.start()
    pulls(alone, "team/app", "1", image)
    listed = alone.get(f"/v2/team/app/referrers/{image.digest}").json()
    assert [d["digest"] for d in listed["manifests"]] == [about.digest]


def test_what_was_imported_can_be_deleted_and_comes_again(old, alone, image):
    old.image("team/app", "1", image)
    take(alone, old.folder)
    deleted = alone.request("DELETE", f"/v2/team/app/manifests/{image.digest}")
    assert deleted.status == 202
    assert alone.manifest("team/app", "1").status == 404
    assert old.data(image.layers[0].digest).read_bytes() == \
        image.layers[0].data
    take(alone, old.folder)
    pulls(alone, "team/app", "1", image)
