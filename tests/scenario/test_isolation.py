# SPDX-License-Identifier: Apache-2.0
"""
All repositories share one store of blobs, and none shows what it has not
earned: a hosted one by a push or a mount, a mirror by its upstream's yes.
Naming a digest earns nothing, in whatever way.
"""

import json

import pytest

import client
import content
import datasets
from content import FOREIGN_LAYER, OCI_INDEX, OCI_LAYER, OCI_MANIFEST
from daemon import wait_until
from push import Pusher, post_put
from test_attack import LOGIN, SECRET, private

THIEF = "team/thief"
SPARSE = "team/sparse"  # where manifests may lack their blobs
OWNERS = {"mirrored": "org/app", "mirrored elsewhere": "quay.io/org/app",
          "hosted": "team/owner"}


@pytest.fixture
def ups(new_up):
    return {"docker.io": new_up(), "quay.io": new_up()}


@pytest.fixture
def entrepot(new_entrepot, ups):
    return new_entrepot(ups, {"hosted": ["team/**"],
                              "allow_sparse": [SPARSE]})


class Owned:
    """An image that this repository has earned, and nobody else."""

    def __init__(self, entrepot, ups, kind):
        self.name = OWNERS[kind]
        self.entrepot = entrepot
        self.image = content.make_image([70_000, 300], "owned")
        self.layer, self.config = self.image.layers[0], self.image.config
        if kind == "hosted":
            Pusher(entrepot, self.name).push(self.image, "1")
        else:
            up = ups["quay.io" if "quay" in self.name else "docker.io"]
            up.put_image("org/app", "1", self.image)
            client.Docker(entrepot.address).pull(self.name, "1", self.image)
        for one in self.image.blobs:
            entrepot.wait_stored(one)

    def check(self):
        """Nothing has been taken away, either."""
        answer = self.entrepot.manifest(self.name, self.image.digest)
        client.check_manifest(answer, self.image)
        answer = self.entrepot.blob(self.name, self.layer.digest)
        client.check_blob(answer, self.layer)


@pytest.fixture(params=OWNERS)
def owned(request, entrepot, ups):
    return Owned(entrepot, ups, request.param)


def check_hidden(entrepot, name, image):
    """Neither it nor anything below it, in whatever way one asks."""
    connection = entrepot.connect()
    for kind, digest in [("manifests", image.digest),
                         ("blobs", image.digest),
                         *(("blobs", blob.digest) for blob in image.blobs),
                         *(("manifests", blob.digest)
                           for blob in image.blobs)]:
        path = f"/v2/{name}/{kind}/{digest}"
        for headers in ({}, {"Range": "bytes=0-0"},
                        {"Range": "bytes=999999999-"},
                        {"If-None-Match": f'"{digest}"'},
                        {"If-None-Match": "*"}):
            answer = connection.get(path, headers)
            assert answer.status == 404, (path, answer)
            assert digest not in (answer.digest, answer.headers.get("ETag"))
        assert connection.head(path).status == 404, path
        answer = connection.request("DELETE", path)
        assert answer.status == 404, (path, answer)


def put(pusher, document, tag=None):
    data = json.dumps(document).encode()
    image = content.Image(data, content.digest_of(data),
                          document["mediaType"])
    return pusher.put_manifest(image, tag)


def manifest(config, layers, **more):
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config,
            "layers": layers, **more}


def index(children, **more):
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children,
            **more}


def own_config(pusher):
    config = content.blob_of(b'{"mine": 1}', media_type=content.OCI_CONFIG)
    assert post_put(pusher, config).status == 201
    return config.descriptor()


# ---- ways to name what is not one's own; each is taken ----

def by_child(pusher, image):
    return put(pusher, index([image.descriptor()]), "1")


def by_child_that_is_a_blob(pusher, image):
    """As BuildKit's cache has them."""
    return put(pusher, index([blob.descriptor() for blob in image.blobs]), "1")


def by_urls(pusher, image):
    return put(pusher, manifest(own_config(pusher), [
        blob.descriptor(urls=["https://store.example.com/x"])
        for blob in image.layers]), "1")


def by_foreign_type(pusher, image):
    return put(pusher, manifest(own_config(pusher), [
        {**blob.descriptor(), "mediaType": FOREIGN_LAYER}
        for blob in image.layers]), "1")


def by_subject(pusher, image):
    return put(pusher, manifest(own_config(pusher), [],
                                subject=image.descriptor()), "1")


def by_fallback_tag(pusher, image):
    tag = content.digest_of(b"something").replace(":", "-")
    return put(pusher, index([image.descriptor()]), tag)


def by_sparse_layers(pusher, image):
    pusher = Pusher(pusher.daemon, SPARSE)
    return put(pusher, manifest(own_config(pusher), [
        blob.descriptor() for blob in image.layers]), "1")


def by_sparse_config(pusher, image):
    pusher = Pusher(pusher.daemon, SPARSE)
    return put(pusher, manifest(image.config.descriptor(), []), "1")


def by_the_manifest_itself(pusher, image):
    """Who has its bytes may have it; not what it names."""
    return Pusher(pusher.daemon, SPARSE).put_manifest(image, "1")


WAYS = [by_child, by_child_that_is_a_blob, by_urls, by_foreign_type,
        by_subject, by_fallback_tag, by_sparse_layers, by_sparse_config]


@pytest.mark.parametrize("way", WAYS)
def test_naming_a_digest_earns_nothing(entrepot, owned, way):
    answer = way(Pusher(entrepot, THIEF), owned.image)
    assert answer.status == 201, answer
    for name in (THIEF, SPARSE):
        check_hidden(entrepot, name, owned.image)
    owned.check()


def test_bytes_of_a_manifest_do_not_earn_its_blobs(entrepot, owned):
    answer = by_the_manifest_itself(Pusher(entrepot, THIEF), owned.image)
    assert answer.status == 201, answer
    for blob in owned.image.blobs:
        assert entrepot.blob(SPARSE, blob.digest).status == 404
    check_hidden(entrepot, THIEF, owned.image)
    owned.check()


def test_presence_cannot_be_asked_by_a_push(entrepot, owned):
    """What others hold and what nobody holds are refused alike."""
    pusher = Pusher(entrepot, THIEF)
    config = own_config(pusher)
    nowhere = content.make_blob(70_000, "nowhere")
    answers = [put(pusher, manifest(config, [blob.descriptor()]))
               for blob in (owned.layer, nowhere)]
    assert {a.status for a in answers} == {400}
    assert {a.code for a in answers} == {"MANIFEST_BLOB_UNKNOWN"}
    texts = [a.body.decode().replace(blob.digest, "") for a, blob in
             zip(answers, (owned.layer, nowhere))]
    assert texts[0] == texts[1]
    check_hidden(entrepot, THIEF, owned.image)


def test_referrers_do_not_cross_repositories(entrepot, owned):
    pusher = Pusher(entrepot, THIEF)
    made = by_subject(pusher, owned.image)
    assert made.headers["OCI-Subject"] == owned.image.digest
    path = f"/v2/%s/referrers/{owned.image.digest}"
    found = entrepot.get(path % THIEF).json()["manifests"]
    assert [one["digest"] for one in found] == [made.digest]
    assert not entrepot.get(path % owned.name).json()["manifests"]
    assert entrepot.manifest(owned.name, made.digest).status == 404


def test_fallback_tag_lists_what_is_linked_here_alone(entrepot, owned):
    """An artifact of the owner's, named by a tag of another's."""
    pusher = Pusher(entrepot, THIEF)
    subject = content.make_image([], "mine")
    pusher.push(subject, "1")
    tag = subject.digest.replace(":", "-")
    away = owned.image.descriptor(artifactType=datasets.EXAMPLE)
    assert put(pusher, index([away]), tag).status == 201
    found = entrepot.get(f"/v2/{THIEF}/referrers/{subject.digest}").json()
    assert found["manifests"] == []


def test_an_upload_of_other_bytes_is_not_taken_for_it(entrepot, owned):
    """To know a digest is not to have its bytes."""
    pusher = Pusher(entrepot, THIEF)
    other = content.Blob(b"x" * owned.layer.size, owned.layer.digest)
    answer = post_put(pusher, other)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID"), answer
    where = pusher.begin()
    answer = pusher.put(where, owned.layer.digest)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID"), answer
    assert pusher.ask("DELETE", where).status == 204
    entrepot.may_leave_partials = True  # the first one's session
    check_hidden(entrepot, THIEF, owned.image)


def test_whoever_has_the_bytes_earns_it_and_they_are_kept_once(entrepot,
                                                               owned):
    before = entrepot.stored(owned.layer.digest).stat()
    pusher = Pusher(entrepot, THIEF)
    assert post_put(pusher, owned.layer).status == 201
    client.check_blob(entrepot.blob(THIEF, owned.layer.digest), owned.layer)
    after = entrepot.stored(owned.layer.digest).stat()
    assert (before.st_ino, before.st_nlink) == (after.st_ino, after.st_nlink)
    # And this alone: the rest is no nearer.
    assert entrepot.blob(THIEF, owned.config.digest).status == 404
    assert pusher.ask("DELETE", f"/v2/{THIEF}/blobs/{owned.layer.digest}"
                      ).status == 202
    check_hidden(entrepot, THIEF, owned.image)
    owned.check()


# ---- from hosted to mirrored ----

@pytest.fixture
def hosted(entrepot, ups):
    return Owned(entrepot, ups, "hosted")


@pytest.mark.parametrize("name", ["org/other", "quay.io/org/other"])
@pytest.mark.parametrize("how", ["child", "layers", "nothing"])
def test_a_mirror_shows_what_its_upstream_has(entrepot, ups, hosted, name,
                                              how):
    """Upstream's own manifests name what is hosted here; it lacks that."""
    up = ups["quay.io" if "quay" in name else "docker.io"]
    named = {"child": index([hosted.image.descriptor()]),
             "layers": manifest(hosted.image.config.descriptor(),
                                [b.descriptor() for b in hosted.image.layers]),
             "nothing": index([])}[how]
    data = json.dumps(named).encode()
    image = content.Image(data, content.digest_of(data), named["mediaType"])
    up.repository("org/other")
    up.put_manifest("org/other", image, "1")
    client.check_manifest(entrepot.manifest(name, "1"), image)
    for kind, digest in [("manifests", hosted.image.digest),
                         *(("blobs", b.digest) for b in hosted.image.blobs)]:
        path = f"/v2/{name}/{kind}/{digest}"
        assert entrepot.get(path).status == 404, path
        assert entrepot.head(path).status == 404, path
    # An upstream that is away has not said yes.
    up.close()
    for blob in hosted.image.blobs:
        answer = entrepot.blob(name, blob.digest)
        assert answer.status in (404, 502, 503, 504), answer
    answer = entrepot.manifest(name, hosted.image.digest)
    assert answer.status in (404, 502, 503, 504), answer
    up.open()
    hosted.check()


def test_hosted_names_do_not_exist_for_a_namespace(entrepot, ups, hosted):
    """?ns= means the upstream's repository of that name."""
    for kind, reference in [("manifests", "1"),
                            ("manifests", hosted.image.digest),
                            ("blobs", hosted.layer.digest)]:
        path = f"/v2/{hosted.name}/{kind}/{reference}?ns=docker.io"
        assert entrepot.get(path).status == 404, path
    assert {r.name for r in ups["docker.io"].requests("manifest")} == \
        {hosted.name}


def test_what_is_hosted_costs_a_mirror_no_transfer(entrepot, ups, hosted):
    """Once its upstream has said yes."""
    ups["docker.io"].put_image("org/other", "1", hosted.image)
    client.Docker(entrepot.address).pull("org/other", "1", hosted.image)
    for blob in hosted.image.blobs:
        assert ups["docker.io"].bytes_sent(blob.digest) == 0, blob.digest


# ---- what only our credentials get ----

AFTER_ALL = [f"/v2/%s/tags/list?{query}" for query in
             ("last=zzz", "n=5&last=zzz", "n=0&last=zzz")]


@pytest.fixture
def with_login(new_entrepot, up, image):
    """Nothing has been pulled yet, so that nothing has a mark."""
    for name in (SECRET, "corp/public"):
        up.put_image(name, "v1", image)
    private(up, SECRET)
    return new_entrepot(up, **LOGIN)


@pytest.mark.parametrize("path", AFTER_ALL)
def test_an_empty_page_does_not_tell_of_a_private_repository(
        with_login, up, path):
    for _ in range(2):
        answer = with_login.get(path % SECRET)
        assert (answer.status, answer.code) == (403, "DENIED"), answer
    whole = with_login.get(f"/v2/{SECRET}/tags/list")
    assert (whole.status, whole.body) == (403, answer.body)
    assert with_login.get(path % "corp/none").status == 404
    for _ in range(2):
        answer = with_login.get(path % "corp/public")
        assert (answer.status, answer.json()["tags"]) == (200, []), answer


def test_a_condition_does_not_tell_of_a_private_blob(with_login, image):
    for blob in image.blobs:
        for value in ("*", f'"{blob.digest}"'):
            answer = with_login.blob(SECRET, blob.digest,
                                     {"If-None-Match": value})
            assert (answer.status, answer.code) == (403, "DENIED"), answer


def test_an_empty_page_that_nobody_can_judge_is_503(with_login, up):
    fault = up.fault(kind="token", status=500,
                     when=lambda r: "authorization" not in r.headers)
    for name in (SECRET, "corp/public"):
        assert with_login.get(AFTER_ALL[0] % name).status == 503
    fault.clear()
    wait_until(lambda: [with_login.get(AFTER_ALL[0] % name).status for name in
                        (SECRET, "corp/public")] == [403, 200], 5)


def test_a_list_that_is_refused_to_all_marks_nothing(with_login, up, image):
    """Its content is everybody's all the same."""
    lists = []  # our login's, then nobody's

    def is_second(request):
        if "authorization" in request.headers:
            lists.append(request)
        return len(lists) > 1

    up.fault(kind="tags", status=403, times=None, when=is_second)
    assert with_login.get(AFTER_ALL[0] % "corp/public").status == 403
    assert len(lists) == 2
    client.Docker(with_login.address).pull("corp/public", "v1", image)


# ---- a claimed name, and the mirror that it stood for ----

def test_a_claimed_name_has_what_its_mirror_was_given(entrepot, ups):
    """An image just pulled through a name can be pushed to it, and no other
    mirror's."""
    mine = Owned(entrepot, ups, "mirrored")
    other = content.make_image([50_000], "elsewhere")
    ups["quay.io"].put_image("org/app", "2", other)
    client.Docker(entrepot.address).pull("quay.io/org/app", "2", other)
    pusher = Pusher(entrepot, "org/app")
    config = own_config(pusher)
    answer = put(pusher, manifest(config, [other.layers[0].descriptor()]))
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    kept = manifest(config, [b.descriptor() for b in mine.image.layers])
    assert put(pusher, kept, "mine").status == 201
    for blob in mine.image.layers:
        client.check_blob(entrepot.blob("org/app", blob.digest), blob)
    assert entrepot.blob("org/app", other.layers[0].digest).status == 404


@pytest.mark.parametrize("private_content", ["deny", "share"])
@pytest.mark.parametrize("max_denied", ["0s", "24h"])
def test_a_push_builds_on_what_a_pull_would_still_get(
        new_entrepot, up, image, max_denied, private_content):
    """Past max_denied what upstream denies is nobody's any more."""
    entrepot = new_entrepot(up, {"hosted": ["team/**"]}, check="1s",
                            max_denied=max_denied, private=private_content)
    up.put_image("org/app", "1", image)
    client.Docker(entrepot.address).pull("org/app", "1", image)
    for blob in image.blobs:
        entrepot.wait_stored(blob)
    up.fault(kind=("manifest", "blob"), status=403, times=None)
    wait_until(lambda: entrepot.manifest("org/app", "1").status == 403 or
               any(r.status == 403 for r in up.requests("manifest")), 5)
    held = 403 if max_denied == "0s" else 200
    blob = image.layers[0]
    assert entrepot.manifest("org/app", "1").status == held
    assert entrepot.manifest("org/app", image.digest).status == held
    assert entrepot.blob("org/app", blob.digest).status == held
    answer = entrepot.blob("org/app", blob.digest, {"If-None-Match": "*"})
    assert answer.status == (403 if held == 403 else 304), answer
    pusher = Pusher(entrepot, THIEF)
    for source in ("org/app", "docker.io/org/app"):
        answer = pusher.mount(blob.digest, source)
        assert answer.status == (202 if held == 403 else 201), answer
        if answer.status == 202:
            where = answer.headers["Location"]
            assert pusher.ask("DELETE", where).status == 204
    assert entrepot.blob(THIEF, blob.digest).status == \
        (404 if held == 403 else 200)
    answer = Pusher(entrepot, "org/app").put_manifest(image, "1")
    if held == 200:
        assert answer.status == 201, answer
        return
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    for one in image.blobs:  # the name is hosted now
        assert entrepot.blob("org/app", one.digest).status == 404


def test_layer_type_is_what_each_repository_was_told(entrepot, owned):
    """The same bytes as a blob here do not make a manifest of them there."""
    pusher = Pusher(entrepot, THIEF)
    blob = content.blob_of(owned.image.data, media_type=OCI_LAYER)
    assert post_put(pusher, blob).status == 201
    assert entrepot.manifest(THIEF, blob.digest).status == 404
    answer = entrepot.blob(THIEF, blob.digest)
    client.check_blob(answer, blob)
    assert answer.headers["Content-Type"] == "application/octet-stream"
