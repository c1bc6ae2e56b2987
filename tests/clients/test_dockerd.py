# SPDX-License-Identifier: Apache-2.0
"""dockerd with registry-mirrors: conf/clients/docker-daemon.json as it is."""

import http.client
import json
import socket
import time
from urllib.parse import urlencode

import pytest

import flows
import pushes
from mirror import (assert_all_hits, assert_each_blob_once, assert_served,
                    digests_of, template)
from pushes import AT
from world import need, remove_cgroups, stop

GROUP = "entrepot-test-docker"


class Docker:
    """A dockerd of its own, and its client."""

    def __init__(self, world, folder):
        need("dockerd", "docker", "containerd", "runc")
        self.world = world
        self.folder = folder
        folder.mkdir()
        self.log = folder / "log"
        short = world.short_folder()
        self.socket = f"unix://{short}/s"
        settings = folder / "daemon.json"
        settings.write_text(template("docker-daemon.json"))
        self.process = world.serve(
            "dockerd", "--config-file", settings, "-H", self.socket,
            "--data-root", folder / "data", "--exec-root", short / "exec",
            "--pidfile", short / "pid", "--iptables=false",
            "--ip6tables=false", "--bridge=none", "--cgroup-parent", GROUP,
            log=self.log)
        self._wait()

    def _wait(self):
        end = time.monotonic() + 20
        while self.docker("version", check=False).returncode != 0:
            assert self.process.poll() is None and time.monotonic() < end, \
                "dockerd does not start:\n" + self.log.read_text()
            time.sleep(0.1)

    def docker(self, *words, **more):
        return self.world.run("docker", "-H", self.socket, *words, **more)

    def pull(self, reference):
        return self.docker("pull", reference).stdout

    def inspect(self, reference):
        return json.loads(self.docker("image", "inspect", reference).stdout)[0]

    def check(self, reference, image):
        here = image.children[0] if image.children else image
        found = self.inspect(reference)
        assert found["Id"] == here.config.digest
        assert found["Architecture"] == here.arch
        assert any(d.endswith(image.digest) for d in found["RepoDigests"])
        assert found["RootFS"]["Layers"] == \
            json.loads(here.config.data)["rootfs"]["diff_ids"]

    def tag_often(self, source, name, tags):
        """By its API, as a command for each takes its time."""
        connection = http.client.HTTPConnection("docker")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(self.socket.removeprefix("unix://"))
        for tag in tags:
            connection.request("POST", f"/images/{source}/tag?" +
                               urlencode({"repo": name, "tag": tag}))
            answer = connection.getresponse()
            assert answer.status == 201, answer.read()
            answer.read()
        connection.close()

    def forget(self):
        self.docker("image", "prune", "--all", "--force")
        assert not self.docker("image", "ls", "--quiet").stdout

    def stop(self):
        stop(self.process)
        remove_cgroups(GROUP)


@pytest.fixture
def docker(world, tmp_path, logs, clean_up):
    made = Docker(world, tmp_path / "d")
    logs["dockerd"] = made.log
    yield made
    made.stop()


def test_second_pull_asks_upstream_for_nothing(mirror, hub, images, docker,
                                               untouched):
    flows.pull_cold(mirror, hub, docker, "small:1", images.small)
    flows.pull_warm(mirror, hub, docker, "small:1", images.small)


def test_large_layers_of_an_oci_index(mirror, hub, images, docker, untouched):
    flows.pull_cold(mirror, hub, docker, "big:1", images.big)
    flows.pull_warm(mirror, hub, docker, "big:1", images.big)


def test_pull_by_digest(mirror, hub, images, docker, untouched):
    name = flows.by_digest("small:1", images.small)
    flows.pull_cold(mirror, hub, docker, name, images.small)
    flows.pull_warm(mirror, hub, docker, name, images.small)


def test_tag_is_checked_by_head_alone(new_mirror, hub, images, docker,
                                      untouched):
    mirror = new_mirror(check="always")
    flows.pull_cold(mirror, hub, docker, "small:1", images.small)
    flows.pull_warm(mirror, hub, docker, "small:1", images.small,
                    "revalidated")


def test_moved_tag_is_seen(new_mirror, hub, images, docker, untouched):
    new_mirror(check="always")
    hub.push("library/moving", "1", images.small)
    docker.pull("moving:1")
    docker.check("moving:1", images.small)
    hub.push("library/moving", "1", images.newer)
    docker.pull("moving:1")
    docker.check("moving:1", images.newer)


def test_pull_while_upstream_is_away(new_mirror, hub, images, docker,
                                     untouched):
    mirror = new_mirror(check="always")
    flows.pull_cold(mirror, hub, docker, "big:1", images.big)
    flows.pull_without_upstream(mirror, hub, docker, "big:1", images.big)


def test_other_platform(mirror, images, docker, untouched):
    away = images.small.children[1]
    docker.docker("pull", "--platform", f"linux/{away.arch}", "small:1")
    found = docker.inspect("small:1")
    assert found["Architecture"] == away.arch
    assert found["Id"] == away.config.digest


def test_what_was_pulled_runs(mirror, images, docker, untouched):
    docker.pull("big:1")
    out = docker.docker("run", "--rm", "--network", "none", "big:1",
                        "/bin/sha256sum", "/srv/large").stdout
    here = images.big.children[0]
    assert out.split()[0] == here.files["srv/large"]


def test_buildkit(mirror, hub, images, docker, tmp_path, untouched):
    """dockerd's BuildKit says which registry it means; and a second build."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(
        "FROM big:1 AS base\n"
        "RUN sha256sum /srv/large >/sum\n"
        "FROM small:1\n"
        "COPY --from=base /sum /sum\n")
    build = ["build", "--network", "none", "--pull", "--tag", "built", context]
    here = images.big.children[0]
    for again in (False, True):
        at_mirror, at_hub = mirror.mark(), hub.mark()
        docker.docker(*build, env={"DOCKER_BUILDKIT": "1"})
        out = docker.docker("run", "--rm", "--network", "none", "built",
                            "/bin/cat", "/sum").stdout
        assert out.split()[0] == here.files["srv/large"]
        lines, asked = mirror.since(at_mirror), hub.since(at_hub)
        assert lines and all("ns=docker.io" in ln["path"] for ln in lines)
        if again:
            assert_all_hits(lines)
            assert not asked, asked
        else:
            assert_served(lines, digests_of(images.big), {"miss", "joined"})
            assert_each_blob_once(asked, digests_of(images.big))
        docker.docker("builder", "prune", "--all", "--force")
        docker.forget()


def test_restarted_mirror_needs_no_upstream(mirror, hub, images, docker,
                                            untouched):
    flows.pull_cold(mirror, hub, docker, "big:1", images.big)
    mirror.daemon.restart(kill=True)
    name = flows.by_digest("big:1", images.big)
    flows.pull_warm(mirror, hub, docker, name, images.big)


def test_unknown_image_goes_to_the_next_endpoint(mirror, world, docker):
    before = len(world.trap.connections)
    at_mirror = mirror.mark()
    start = time.monotonic()
    done = docker.docker("pull", "nosuch:1", check=False)
    assert done.returncode != 0
    assert time.monotonic() - start < 10
    lines = mirror.since(at_mirror)
    assert lines and {line["status"] for line in lines} == {"404"}
    assert len(world.trap.connections) > before, done.stderr


def test_cold_image_without_upstream_goes_to_the_next_endpoint(
        mirror, hub, images, world, docker):
    hub.stop()
    before = len(world.trap.connections)
    at_mirror = mirror.mark()
    done = docker.docker("pull", "small:1", check=False)
    assert done.returncode != 0
    assert {line["status"] for line in mirror.since(at_mirror)} <= \
        {"502", "503", "504"}
    assert len(world.trap.connections) > before, done.stderr
    hub.start()
    docker.pull("small:1")
    docker.check("small:1", images.small)


# ---- pushes ----

# Docker before 23 cannot unpack zstd, and none has more layers than this.
MOST_LAYERS = 125


@pytest.mark.parametrize("kind", [
    *(kind for kind in pushes.KINDS if kind not in ("zstd", "layers")),
    # dockerd itself takes half a minute for each pull of it.
    pytest.param("layers", marks=pytest.mark.limit(180))])
def test_push_of_every_kind(kind, mirror, hub, kinds, docker, untouched):
    """Pulled through the mirror, pushed to the registry and pulled back; the
    second name's layers are mounted from the first's."""
    hub.push(f"kinds/{kind}", "1", pushes.many_layers(MOST_LAYERS)
             if kind == "layers" else kinds[kind])
    docker.pull(f"kinds/{kind}:1")
    number = docker.inspect(f"kinds/{kind}:1")["Id"]
    at_hub = hub.mark()
    for name in (f"{AT}/acme/{kind}:1", f"{AT}/acme/again-{kind}:1"):
        at_mirror = mirror.mark()
        docker.docker("tag", f"kinds/{kind}:1", name)
        docker.docker("push", name)
    granted = pushes.mounts(mirror.since(at_mirror))
    assert granted and all(f"from=acme%2F{kind}&" in line["path"]
                           for line in granted)
    docker.forget()
    for name in (f"acme/{kind}", f"acme/again-{kind}"):
        made = pushes.check_pushed(mirror, name, "1")
        assert made["config"]["digest"] == number
        docker.pull(f"{AT}/{name}:1")
        assert docker.inspect(f"{AT}/{name}:1")["Id"] == number
    pushes.check_untouched(hub, at_hub, f"acme/{kind}", f"acme/again-{kind}")


def test_push_of_200_tags(mirror, images, docker, untouched):
    docker.pull("small:1")
    number = docker.inspect("small:1")["Id"]
    docker.tag_often("small:1", f"{AT}/acme/tags", pushes.TAGS)
    docker.docker("push", "--all-tags", f"{AT}/acme/tags")
    assert pushes.tags_of(mirror, "acme/tags") == pushes.TAGS
    for tag in pushes.TAGS:
        made = mirror.daemon.manifest("acme/tags", tag).json()
        assert made["config"]["digest"] == number
    docker.forget()
    for tag in (pushes.TAGS[0], pushes.TAGS[-1]):
        docker.pull(f"{AT}/acme/tags:{tag}")
        assert docker.inspect(f"{AT}/acme/tags:{tag}")["Id"] == number


def test_push_of_a_name_that_nobody_declared(mirror, hub, images, docker,
                                             untouched):
    """From this machine it becomes hosted, whatever the hub has later."""
    docker.pull("small:1")
    docker.docker("tag", "small:1", f"{AT}/fresh/app:1")
    docker.docker("push", f"{AT}/fresh/app:1")
    hub.push("fresh/app", "1", images.other)
    docker.forget()
    docker.pull(f"{AT}/fresh/app:1")
    assert docker.inspect(f"{AT}/fresh/app:1")["Id"] == \
        images.small.children[0].config.digest
    docker.docker("tag", f"{AT}/fresh/app:1", f"{AT}/library/app:1")
    done = docker.docker("push", f"{AT}/library/app:1", check=False)
    assert done.returncode != 0 and "hosted" in done.stderr, done
