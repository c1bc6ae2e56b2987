# SPDX-License-Identifier: Apache-2.0
"""
Deleting: what was hosted is gone from every answer at once, and later from
the disk; what a manifest needs stays.  In a mirror's repository it is a purge.
A name that was claimed stays hosted until it is released.
"""

import json

import pytest

import client
import content
from content import OCI_MANIFEST
from daemon import wait_until
from push import NAME, Pusher, post_put

OTHER = "team/other"


@pytest.fixture
def registry(new_entrepot):
    return new_entrepot(None, {"default_upstream": None})


def delete(daemon, name, path):
    return daemon.request("DELETE", f"/v2/{name}/{path}")


def deleted(daemon, name, path):
    answer = delete(daemon, name, path)
    assert answer.status == 202, (path, answer)


def manifest(image):
    return f"manifests/{image.digest}"


def blob(one):
    return f"blobs/{one.digest}"


def check_gone(daemon, name, path):
    """GET, HEAD, another DELETE; and nobody can mount it from there."""
    for method in ("GET", "HEAD", "DELETE"):
        answer = daemon.request(method, f"/v2/{name}/{path}")
        assert answer.status == 404, (method, answer)
    kind, _, digest = path.partition("/")
    if kind == "blobs":
        pusher = Pusher(daemon, "team/thief")
        answer = pusher.mount(digest, name)
        assert answer.status == 202, answer
        assert pusher.ask("DELETE", answer.headers["Location"]).status == 204


def tags(daemon, name=NAME):
    return daemon.get(f"/v2/{name}/tags/list").json()["tags"]


def referrers(daemon, subject, name=NAME):
    answer = daemon.get(f"/v2/{name}/referrers/{subject.digest}")
    return [one["digest"] for one in answer.json()["manifests"]]


def refused(answer, parent):
    """405, and the manifest that is in the way is named."""
    assert (answer.status, answer.code) == (405, "UNSUPPORTED"), answer
    assert parent.digest in answer.message


# ---- hosted ----

def test_deleted_content_is_gone_from_every_answer(registry, image):
    pusher = Pusher(registry)
    about = content.make_image([10], "about", subject=image)
    pusher.push(image, "1", "2")
    pusher.push(about)
    assert referrers(registry, image) == [about.digest]

    deleted(registry, NAME, "manifests/1")
    check_gone(registry, NAME, "manifests/1")
    assert tags(registry) == ["2"]
    client.Docker(registry.address).pull(NAME, "2", image)

    deleted(registry, NAME, manifest(about))
    check_gone(registry, NAME, manifest(about))
    assert referrers(registry, image) == []

    deleted(registry, NAME, manifest(image))
    check_gone(registry, NAME, manifest(image))
    check_gone(registry, NAME, "manifests/2")
    assert tags(registry) == []

    for one in image.blobs:
        deleted(registry, NAME, blob(one))
        check_gone(registry, NAME, blob(one))
    # It may all come again.
    pusher.push(image, "1")
    client.Docker(registry.address).pull(NAME, "1", image)


def test_space_comes_back_while_it_runs(up, new_entrepot, image):
    """Of what nothing needs any more: no manifest, whatever its repository,
    and no mirror."""
    daemon = new_entrepot(up, {"hosted": ["team/**"], "collect.grace": "0s",
                               "collect.interval": "10ms"})
    mirrored = content.make_image([5000], "mirrored")
    shared = content.make_image([*image.layers[:1], 20], "shared")
    up.put_image("org/app", "1", mirrored)
    pull(daemon, up, mirrored)
    for name, one, tag in ((NAME, image, "1"), (NAME, mirrored, "2"),
                           (OTHER, shared, "1")):
        Pusher(daemon, name).push(one, tag)
    deleted(daemon, NAME, manifest(mirrored))
    for one in mirrored.blobs:
        # Nothing names it, and it may have gone by itself.
        assert delete(daemon, NAME, blob(one)).status in (202, 404)
        check_gone(daemon, NAME, blob(one))
    # Nobody has to know what a manifest named.
    deleted(daemon, NAME, manifest(image))
    gone = [image.digest, image.config.digest, image.layers[1].digest]
    wait_until(lambda: not any(map(daemon.stored, gone)), 20,
               lambda: f"still there: {[d for d in gone if daemon.stored(d)]}")
    for one in image.blobs:
        check_gone(daemon, NAME, blob(one))
    client.Docker(daemon.address).pull(OTHER, "1", shared)
    up.close()
    client.Docker(daemon.address).pull("org/app", "1", mirrored)
    up.open()


def test_what_a_manifest_names_cannot_be_deleted(registry):
    children = [content.make_image([500 + i], f"child {i}") for i in range(2)]
    index = content.make_index(children)
    pusher = Pusher(registry)
    pusher.push(index, "1")
    for child in children:
        refused(delete(registry, NAME, manifest(child)), index)
        for one in child.blobs:
            refused(delete(registry, NAME, blob(one)), child)
    client.Docker(registry.address).pull(NAME, "1", index, 1)
    # A tag is no reason, neither to keep it nor for what it names to stay.
    deleted(registry, NAME, "manifests/1")
    deleted(registry, NAME, manifest(index))
    deleted(registry, NAME, manifest(children[0]))
    for one in children[0].blobs:
        deleted(registry, NAME, blob(one))
    # The other one is still there, and so is what it needs.
    for one in children[1].blobs:
        refused(delete(registry, NAME, blob(one)), children[1])


def test_a_manifest_of_another_repository_is_no_parent(registry, image):
    """By link and edge together: it must be linked in the same one."""
    Pusher(registry, OTHER).push(image, "1")
    pusher = Pusher(registry)
    for one in image.blobs:
        assert post_put(pusher, one).status == 201
    for one in image.blobs:
        deleted(registry, NAME, blob(one))
        check_gone(registry, NAME, blob(one))
    client.Docker(registry.address).pull(OTHER, "1", image)


def test_a_subject_can_be_deleted(registry, image):
    """Who refers to it stays, and is found when it comes again."""
    about = content.make_image([10], "about", subject=image)
    pusher = Pusher(registry)
    pusher.push(image, "1")
    pusher.push(about)
    deleted(registry, NAME, manifest(image))
    client.check_manifest(registry.manifest(NAME, about.digest), about)
    assert referrers(registry, image) == [about.digest]
    pusher.push(image, "1")
    assert referrers(registry, image) == [about.digest]


def test_foreign_layers_of_a_manifest_are_not_its_children(registry):
    """It names them, and does not need them."""
    pusher = Pusher(registry)
    config, away = content.blob_of(b"{}"), content.make_blob(500, "away")
    for one in (config, away):
        assert post_put(pusher, one).status == 201
    data = json.dumps({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": config.descriptor(),
        "layers": [away.descriptor(urls=["https://s.example.com/x"])]
    }).encode()
    image = content.Image(data, content.digest_of(data), OCI_MANIFEST)
    assert pusher.put_manifest(image, "1").status == 201
    deleted(registry, NAME, blob(away))
    refused(delete(registry, NAME, blob(config)), image)


# ---- mirrored ----

@pytest.fixture
def mirror(up, new_entrepot):
    return new_entrepot(up, {"hosted": ["team/**"]})


def pull(daemon, up, image, child=0):
    """By one who has nothing; what upstream was asked to give."""
    up.forget()
    client.Docker(daemon.address).pull("org/app", "1", image, child)
    for one in (image.children[child] if image.children else image).blobs:
        daemon.wait_stored(one)
    daemon.wait_committed()
    return {r.reference for r in up.requests(("manifest", "blob"), "GET",
                                             probes=False)}


def test_purged_content_is_fetched_again(up, mirror, image):
    up.put_image("org/app", "1", image)
    assert pull(mirror, up, image) == \
        {image.digest, *(one.digest for one in image.blobs)}
    assert pull(mirror, up, image) == set()
    for one in image.blobs:
        up.forget()
        deleted(mirror, "org/app", blob(one))
        assert not mirror.stored(one.digest)
        assert not up.requests()
        # Its manifest is here, and that is no reason to refuse.
        assert pull(mirror, up, image) == {one.digest}
    deleted(mirror, "org/app", manifest(image))
    assert pull(mirror, up, image) == {image.digest}
    deleted(mirror, "org/app", "manifests/1")
    up.forget()
    client.check_manifest(mirror.manifest("org/app", "1"), image)
    # A tag that is not known is asked about; its manifest is still here.
    assert up.requests("manifest") and not up.requests("blob")
    for path in ("manifests/2", manifest(content.make_image([])),
                 blob(content.make_blob(3))):
        assert delete(mirror, "org/app", path).status == 404
        assert delete(mirror, "org/never", path).status == 404


def test_purged_content_is_gone_while_upstream_is_away(up, mirror, image):
    up.put_image("org/app", "1", image)
    pull(mirror, up, image)
    up.close()
    client.Docker(mirror.address).pull("org/app", "1", image)
    deleted(mirror, "org/app", blob(image.layers[0]))
    answer = mirror.blob("org/app", image.layers[0].digest)
    assert answer.status in (502, 503, 504), answer
    deleted(mirror, "org/app", manifest(image))
    for reference in ("1", image.digest):
        answer = mirror.manifest("org/app", reference)
        assert answer.status in (502, 503, 504), answer
    up.open()


def test_purge_of_an_index_and_its_children(up, mirror):
    index = content.make_index([content.make_image([70], "amd64"),
                                content.make_image([80], "arm64")])
    up.put_image("org/app", "1", index)
    for child in (0, 1):
        pull(mirror, up, index, child)
    for child in (0, 1):
        deleted(mirror, "org/app", manifest(index.children[child]))
        assert pull(mirror, up, index, child) == \
            {index.children[child].digest}
    deleted(mirror, "org/app", manifest(index))
    assert pull(mirror, up, index, 0) == {index.digest}
    assert pull(mirror, up, index, 1) == set()


def test_purge_leaves_what_is_hosted(up, mirror, image):
    """The same bytes: the mirror's link goes, the file stays."""
    up.put_image("org/app", "1", image)
    pull(mirror, up, image)
    Pusher(mirror).push(image, "1")
    for path in (manifest(image), *map(blob, image.blobs)):
        deleted(mirror, "org/app", path)
    up.close()
    for one in image.blobs:
        assert mirror.stored(one.digest).read_bytes() == one.data
        # Not the mirror's any more: its upstream has not said yes again.
        answer = mirror.blob("org/app", one.digest)
        assert answer.status in (404, 502, 503, 504), answer
    client.Docker(mirror.address).pull(NAME, "1", image)
    # Once it has, nothing is transferred: the bytes are here.
    up.open()
    pull(mirror, up, image)
    assert image.digest in {r.reference for r in up.requests("manifest")}
    assert not any(up.bytes_sent(one.digest) for one in image.blobs)


# ---- claimed names ----

def test_a_claimed_name_stays_hosted_until_it_is_released(up, new_entrepot,
                                                          image):
    """Empty, under other settings, after a restart; ls shows what it hides."""
    entrepot = new_entrepot(up)
    mine = content.make_image([1000], "mine")
    up.put_image("org/app", "1", image)
    Pusher(entrepot, "org/app").push(mine, "1")
    hidden = "org/app  hosted  tags %d  manifests %d  blobs %d  " \
        "hides docker.io/org/app"
    assert entrepot.command("ls").stdout.splitlines() == [hidden % (1, 1, 2)]

    done = entrepot.command("rm", "--release", "org/app")
    assert done.returncode == 1
    assert "1 manifest and 2 blobs; delete the manifests first, by digest" \
        in done.stderr

    deleted(entrepot, "org/app", manifest(mine))
    done = entrepot.command("rm", "--release", "org/app")
    assert done.returncode == 1
    assert "2 blobs that no manifest names" in done.stderr
    assert "go by themselves" in done.stderr
    for one in mine.blobs:
        deleted(entrepot, "org/app", blob(one))
    entrepot.config.options({"claim": "none"})
    for step in ("as it was", "reload", "restart", "kill"):
        if step == "reload":
            entrepot.reload()
        elif step != "as it was":
            entrepot.restart(kill=step == "kill")
        for path in ("manifests/1", manifest(image), "tags/list",
                     blob(image.layers[0])):
            answer = entrepot.get(f"/v2/org/app/{path}")
            assert answer.status == 404 or \
                (path == "tags/list" and not answer.json()["tags"]), step
        assert referrers(entrepot, image, "org/app") == []
        assert not up.requests(), step
        # It takes pushes, which a new name would not.
        assert Pusher(entrepot, "org/app").mount(image.digest).status == 202
    assert entrepot.request("POST", "/v2/org/new/blobs/uploads/", {}, b""
                            ).status == 403
    assert entrepot.command("ls").stdout.splitlines() == [hidden % (0, 0, 0)]

    done = entrepot.command("rm", "--release", "org/app")
    assert (done.returncode, done.stdout) == \
        (0, "org/app is no longer hosted\n")
    client.Docker(entrepot.address).pull("org/app", "1", image)
    assert up.requests("manifest")
    for one in image.blobs:
        entrepot.wait_stored(one)
    # And for good.
    entrepot.restart()
    client.Docker(entrepot.address).pull("org/app", "1", image)
    assert "hides" not in entrepot.command("ls").stdout
    entrepot.may_leave_partials = True
