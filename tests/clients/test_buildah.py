# SPDX-License-Identifier: Apache-2.0
"""buildah: what a build begins with comes through the mirror."""

import json

import pytest

import flows
import pushes
from containers import Store, check_files, layout_host, layout_plain
from pushes import AT

SMALL = "docker.io/library/small:1"
BIG = "docker.io/library/big:1"


class Buildah(Store):
    """pull() is `buildah from`, so check() looks into a container."""

    def __init__(self, world, folder):
        super().__init__(world, folder, "buildah")
        self.container = None

    def pull(self, reference):
        self.container = self("from", "--pull-always",
                              reference).stdout.split()[-1]

    def check(self, reference, image):
        here = image.children[0] if image.children else image
        found = json.loads(self("inspect", self.container).stdout)
        assert found["FromImage"] == reference
        assert f"sha256:{found['FromImageID']}" == here.config.digest
        check_files(self("mount", self.container).stdout.strip(), image)
        self("umount", self.container)

    def forget(self):
        self("rm", "--all")
        super().forget()


@pytest.fixture
def buildah(world, tmp_path, clean_up):
    layout_host(world)
    return Buildah(world, tmp_path / "b")


@pytest.mark.parametrize("layout", [layout_host, layout_plain])
def test_from(layout, world, mirror, hub, images, buildah, untouched):
    layout(world)
    flows.pull_cold(mirror, hub, buildah, SMALL, images.small)
    flows.pull_warm(mirror, hub, buildah, SMALL, images.small)


def test_from_a_digest(mirror, hub, images, buildah, untouched):
    name = flows.by_digest(BIG, images.big)
    flows.pull_cold(mirror, hub, buildah, name, images.big)
    flows.pull_warm(mirror, hub, buildah, name, images.big)


def test_from_while_upstream_is_away(new_mirror, hub, images, buildah,
                                     untouched):
    mirror = new_mirror(check="always")
    flows.pull_cold(mirror, hub, buildah, SMALL, images.small)
    flows.pull_without_upstream(mirror, hub, buildah, SMALL, images.small)


def test_build(mirror, images, buildah, tmp_path, untouched):
    """A Containerfile with a command, two bases, and a copy between them."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Containerfile").write_text(
        f"FROM {BIG} AS base\n"
        "RUN sha256sum /srv/large >/sum\n"
        "FROM quay.io/org/other:1\n"
        "COPY --from=base /sum /sum\n")
    buildah("build", "--isolation", "chroot", "--network", "host", "--tag",
            "localhost/built", folder)
    container = buildah("from", "localhost/built").stdout.strip()
    root = buildah("mount", container).stdout.strip()
    check_files(root, images.other)
    with open(f"{root}/sum", encoding="ascii") as text:
        assert text.read().split()[0] == \
            images.big.children[0].files["srv/large"]


# ---- pushes ----

@pytest.mark.parametrize("form, compression", [
    ("oci", "gzip"), ("oci", "zstd"), ("v2s2", "gzip")])
def test_push_of_what_was_built(form, compression, mirror, hub, images,
                                buildah, tmp_path, untouched):
    """Its base comes through the mirror at the same address."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "file").write_text("of mine\n")
    (folder / "Containerfile").write_text(f"FROM {SMALL}\nCOPY file /mine\n")
    buildah("build", "--format", "oci" if form == "oci" else "docker",
            "--isolation", "chroot", "--tag",
            "localhost/built", folder)
    number = json.loads(buildah("inspect", "--type", "image",
                                "localhost/built").stdout)["FromImageID"]
    at_hub = hub.mark()
    buildah("push", "--tls-verify=false", "--compression-format",
            compression, "--format", form, "localhost/built",
            f"docker://{AT}/acme/built:1")
    made = pushes.check_pushed(mirror, "acme/built", "1")
    assert made["config"]["digest"].endswith(number)
    buildah.forget()
    container = buildah("from", "--tls-verify=false",
                        f"{AT}/acme/built:1").stdout.split()[-1]
    root = buildah("mount", container).stdout.strip()
    with open(f"{root}/mine", encoding="ascii") as text:
        assert text.read() == "of mine\n"
    check_files(root, images.small)
    pushes.check_untouched(hub, at_hub, "acme/built")


# gzip, zstd and lists are in the tests around.
@pytest.mark.limit(180)
@pytest.mark.parametrize("kind", ["attested", "layers"])
def test_push_of_other_kinds(kind, mirror, hub, kinds, buildah, untouched):
    """Pulled through the mirror, pushed to the registry and pulled back; the
    second name's layers are mounted from the first's."""
    hub.push(f"kinds/{kind}", "1", kinds[kind])
    source = f"docker.io/kinds/{kind}:1"
    number = buildah("pull", source).stdout.split()[-1]
    at_hub = hub.mark()
    for name in (f"acme/{kind}", f"acme/again-{kind}"):
        at_mirror = mirror.mark()
        buildah("push", "--tls-verify=false", source,
                f"docker://{AT}/{name}:1")
    assert pushes.mounts(mirror.since(at_mirror))
    buildah.forget()
    for name in (f"acme/{kind}", f"acme/again-{kind}"):
        made = pushes.check_pushed(mirror, name, "1")
        assert made["config"]["digest"] == f"sha256:{number}"
        back = buildah("pull", "--tls-verify=false", f"{AT}/{name}:1")
        assert back.stdout.split()[-1] == number
    pushes.check_untouched(hub, at_hub, f"acme/{kind}", f"acme/again-{kind}")


def test_push_of_a_list(mirror, images, buildah, untouched):
    """Several platforms, made one list here."""
    buildah("manifest", "create", "localhost/list")
    for name in (SMALL, "docker.io/library/big:1"):
        buildah("manifest", "add", "--all", "localhost/list",
                f"docker://{name}")
    buildah("manifest", "push", "--all", "--tls-verify=false",
            "localhost/list", f"docker://{AT}/acme/list:1")
    listed = mirror.daemon.manifest("acme/list", "1").json()["manifests"]
    assert {one["digest"] for one in listed} == \
        {child.digest for image in (images.small, images.big)
         for child in image.children}
    for one in listed:
        pushes.check_pushed(mirror, "acme/list", one["digest"])
