# SPDX-License-Identifier: Apache-2.0
"""containerd with hosts.toml: one folder for a registry, or _default."""

import json
import re
import textwrap
import time

import pytest

import flows
import pushes
from containers import check_files
from images import TYPES
from mirror import digests_of, template
from pushes import AT
from world import need, stop

SMALL = "docker.io/library/small:1"
BIG = "docker.io/library/big:1"
OTHER = "quay.io/org/other:1"

CONFIG = """\
version = 2
root = "{folder}/root"
state = "{short}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{short}/s"
[debug]
  level = "debug"
"""


class Containerd:
    """A containerd of its own, and ctr, which pulls as its library does."""

    def __init__(self, world, folder):
        need("containerd", "ctr")
        self.world = world
        self.folder = folder
        self.short = world.short_folder()
        folder.mkdir()
        self.log = folder / "log"
        self.hosts = folder / "certs.d"
        self.transcript = ""
        config = folder / "config.toml"
        config.write_text(CONFIG.format(folder=folder,
                                        short=self.short))
        self.process = world.serve("containerd", "--config", config,
                                   log=self.log)
        self._wait()

    def _wait(self):
        end = time.monotonic() + 20
        while self.ctr("version", check=False).returncode != 0:
            assert self.process.poll() is None and time.monotonic() < end, \
                "containerd does not start:\n" + self.log.read_text()
            time.sleep(0.1)

    def use(self, file, host):
        """One of conf/clients/containerd-*-hosts.toml, for that host."""
        self.write_hosts(host, template(file))

    def write_hosts(self, host, text):
        folder = self.hosts / host
        folder.mkdir(parents=True)
        (folder / "hosts.toml").write_text(text)

    def ctr(self, *words, **more):
        return self.world.run("ctr", "--address", self.short / "s",
                              "--namespace", "t", *words, **more)

    def pull(self, reference, *options, check=True):
        done = self.ctr("--debug", "images", "pull", "--hosts-dir", self.hosts,
                        *options, reference, check=check)
        self.transcript = done.stdout + done.stderr
        return done

    def fetch(self, *words):
        """All of it and no unpacking: a proof is no file system."""
        self.ctr("content", "fetch", "--all-platforms", *words)

    def namespaces_heard(self):
        """OCI-Namespace of the answers; later versions pull in the daemon."""
        return re.findall(r"oci-namespace=\"?([\w.]+)",
                          self.transcript + self.log.read_text())

    def check(self, reference, image):
        held = self.ctr("content", "ls", "--quiet").stdout.split()
        for digest in [image.digest, *digests_of(image)]:
            assert digest in held, f"{digest} is not among {held}"
        target = self.folder / "mount"
        target.mkdir(exist_ok=True)
        self.ctr("images", "mount", reference, target)
        try:
            check_files(target, image)
        finally:
            self.ctr("images", "unmount", "--rm", target)

    def forget(self):
        names = self.ctr("images", "ls", "--quiet").stdout.split()
        self.ctr("images", "rm", "--sync", *names)
        end = time.monotonic() + 10
        while self.ctr("content", "ls", "--quiet").stdout:
            assert time.monotonic() < end, "containerd keeps content"
            time.sleep(0.1)


@pytest.fixture
def containerd(world, tmp_path, logs, clean_up):
    made = Containerd(world, tmp_path / "c")
    logs["containerd"] = made.log
    yield made
    stop(made.process)


@pytest.fixture
def hub_only(containerd):
    containerd.use("containerd-docker.io-hosts.toml", "docker.io")
    return containerd


@pytest.fixture
def everything(containerd):
    containerd.use("containerd-default-hosts.toml", "_default")
    return containerd


def test_second_pull_asks_upstream_for_nothing(mirror, hub, images, hub_only,
                                               untouched):
    flows.pull_cold(mirror, hub, hub_only, SMALL, images.small)
    assert "docker.io" in hub_only.namespaces_heard()
    lines = flows.pull_warm(mirror, hub, hub_only, SMALL, images.small)
    assert all("ns=docker.io" in line["path"] for line in lines)


def test_parallel_layers(mirror, hub, images, hub_only, untouched):
    flows.pull_cold(mirror, hub, hub_only, BIG, images.big)
    flows.pull_warm(mirror, hub, hub_only, BIG, images.big)


def test_pull_by_digest(mirror, hub, images, hub_only, untouched):
    name = flows.by_digest(SMALL, images.small)
    flows.pull_cold(mirror, hub, hub_only, name, images.small)
    flows.pull_warm(mirror, hub, hub_only, name, images.small)


def test_default_folder_serves_every_registry(mirror, hub, quay, images,
                                              everything, untouched):
    flows.pull_cold(mirror, hub, everything, SMALL, images.small)
    everything.forget()
    everything.pull(OTHER)
    everything.check(OTHER, images.other)
    assert "quay.io" in everything.namespaces_heard()
    lines = flows.pull_warm(mirror, quay, everything, OTHER, images.other)
    assert all("ns=quay.io" in line["path"] for line in lines)


def test_hosts_file_of_the_kubernetes_manifest(mirror, quay, images,
                                               containerd, untouched):
    """What kubernetes-nodes.yaml has its pods write on each node."""
    text = template("kubernetes-nodes.yaml")
    block = re.search(r"^  hosts\.toml: \|\n((?:    .*\n)+)", text, re.M)
    containerd.write_hosts("_default", textwrap.dedent(block[1]))
    flows.pull_cold(mirror, quay, containerd, OTHER, images.other)


def test_zstd_layers(mirror, hub, images, everything, untouched):
    name = "docker.io/team/zstd:1"
    flows.pull_cold(mirror, hub, everything, name, images.zstd)
    flows.pull_warm(mirror, hub, everything, name, images.zstd)


def test_all_platforms(mirror, images, everything, untouched):
    everything.pull(SMALL, "--all-platforms")
    held = everything.ctr("content", "ls", "--quiet").stdout.split()
    for child in images.small.children:
        for digest in [child.digest, *(b.digest for b in child.blobs)]:
            assert digest in held
    raw = everything.ctr("content", "get", images.small.digest).stdout
    assert json.loads(raw)["mediaType"] == TYPES["docker"]["index"]
    assert raw.encode() == images.small.manifest.data


def test_pull_while_upstream_is_away(new_mirror, hub, images, hub_only,
                                     untouched):
    mirror = new_mirror(check="always")
    flows.pull_cold(mirror, hub, hub_only, BIG, images.big)
    flows.pull_warm(mirror, hub, hub_only, BIG, images.big, "revalidated")
    flows.pull_without_upstream(mirror, hub, hub_only, BIG, images.big)


@pytest.mark.parametrize("name", ["docker.io/library/nosuch:1",
                                  "ghcr.io/not/mirrored:1"])
def test_what_the_mirror_lacks_is_asked_of_the_registry(
        name, mirror, world, everything):
    before = len(world.trap.connections)
    at_mirror = mirror.mark()
    start = time.monotonic()
    done = everything.pull(name, check=False)
    assert done.returncode != 0
    assert time.monotonic() - start < 20
    assert {line["status"] for line in mirror.since(at_mirror)} == {"404"}
    assert len(world.trap.connections) > before, everything.transcript


# ---- pushes ----

@pytest.mark.parametrize("kind", pushes.COPIED)
def test_push_of_every_kind(kind, mirror, hub, kinds, everything, untouched):
    """Pulled through the mirror, pushed to the registry, pulled back from
    it; once more under another name, its layers are mounted."""
    image = kinds[kind]
    hub.push(f"kinds/{kind}", "1", image)
    name, at_hub = f"{AT}/acme/{kind}:1", hub.mark()
    everything.fetch("--hosts-dir", everything.hosts,
                     f"docker.io/kinds/{kind}:1")
    everything.ctr("images", "tag", f"docker.io/kinds/{kind}:1", name)
    everything.ctr("images", "push", "--plain-http", name)
    pushes.check_held(mirror, f"acme/{kind}", "1", image)
    pushes.check_untouched(hub, at_hub, f"acme/{kind}")
    everything.forget()
    everything.fetch("--plain-http", name)
    held = everything.ctr("content", "ls", "--quiet").stdout.split()
    for blob in image.blobs:
        assert blob.digest in held
    again = f"{AT}/acme/again-{kind}:1"
    at_mirror = mirror.mark()
    everything.ctr("images", "tag", name, again)
    everything.ctr("images", "push", "--plain-http", again)
    pushes.check_held(mirror, f"acme/again-{kind}", "1", image)
    granted = pushes.mounts(mirror.since(at_mirror))
    assert all(f"from=acme%2F{kind}" in line["path"] or
               f"from=acme/{kind}" in line["path"] for line in granted)
    assert len(granted) >= len(image.layers if not image.children else [1])


@pytest.mark.limit(180)
def test_200_tags(mirror, hub, images, everything, untouched):
    everything.fetch("--hosts-dir", everything.hosts, SMALL)
    names = [f"{AT}/acme/tags:{tag}" for tag in pushes.TAGS]
    everything.ctr("images", "tag", SMALL, *names)
    at_hub = hub.mark()
    for name in names:
        everything.ctr("images", "push", "--plain-http", name)
    pushes.check_tags(mirror, "acme/tags", images.small)
    pushes.check_untouched(hub, at_hub, "acme/tags")
    everything.forget()
    for name in (names[0], names[-1]):
        everything.fetch("--plain-http", name)
    pushes.check_held(mirror, "acme/tags", pushes.TAGS[-1], images.small)
