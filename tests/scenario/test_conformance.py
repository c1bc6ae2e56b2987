# SPDX-License-Identifier: Apache-2.0
"""
A test for each that the OCI's conformance suite names, under the suite's
names: `make conformance` runs the suite itself, which no package carries.
All of them ask one daemon, in the suite's own two repositories.
"""

import os

import pytest

import client
import content
import datasets
import push
from daemon import Config, Daemon
from push import KIB, Pusher, check_state

REPO1 = "conformance/repo1"
REPO2 = "conformance/repo2"
ALGORITHMS = ["sha256", "sha512"]
# As the suite sends them: two lines.
ACCEPT = [("Accept", content.OCI_INDEX), ("Accept", content.OCI_MANIFEST)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conformance")
    config = Config(folder / "data").options(
        {"allow_sparse": ["conformance/**"]})
    daemon = Daemon(folder, config).start(["--default-upstream", "none"])
    yield daemon
    client.close_all()
    # Sessions that end with a refused digest stay, for another try.
    daemon.may_leave_partials = True
    daemon.finish()


@pytest.fixture
def registry(shared, request):
    request.node.daemons = [shared]
    return shared


class Patient(Pusher):
    """Told that a connection ends (a body was refused unread), it opens
    another."""

    def __init__(self, daemon, name=REPO1):
        super().__init__(daemon, name)

    def ask(self, method, path, headers=None, body=None):
        answer = super().ask(method, path, headers, body)
        if answer.headers.get("Connection") == "close":
            self.connection = self.daemon.connect()
        return answer


@pytest.fixture
def pusher(registry):
    return Patient(registry)


# ---- with nothing in it ----

def test_ping(registry):
    answer = registry.get("/v2/")
    assert answer.status == 200
    assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


def test_empty_tag_list(registry):
    answer = registry.get("/v2/conformance/untouched/tags/list")
    assert answer.status in (200, 404)
    if answer.status == 404:
        assert answer.code == "NAME_UNKNOWN"
    else:
        assert not answer.json()["tags"]


def test_empty_referrers(registry):
    digest = content.digest_of(os.urandom(16))
    answer = registry.get(f"/v2/conformance/untouched/referrers/{digest}")
    assert referrers_of(answer) == {}


def referrers_of(answer):
    """{digest: descriptor} of an answer of the referrers API."""
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == content.OCI_INDEX
    found = answer.json()
    assert (found["schemaVersion"], found["mediaType"]) == \
        (2, content.OCI_INDEX)
    return {one["digest"]: one for one in found["manifests"]}


# ---- blobs ----

def new_blob(alg, size=512):
    return content.blob_of(os.urandom(size), alg)


def path_of(blob, name=REPO1):
    return f"/v2/{name}/blobs/{blob.digest}"


def check_pushed(pusher, answer, blob):
    """201 and its headers; then the blob by its Location, GET and HEAD."""
    assert answer.status == 201, answer
    assert answer.digest == blob.digest
    assert answer.headers["Location"] == path_of(blob, pusher.name)
    for method in ("GET", "HEAD"):
        found = pusher.ask(method, answer.headers["Location"])
        assert found.status == 200, found
        assert found.length == blob.size
        assert found.digest == blob.digest
        assert method == "HEAD" or found.body == blob.data


def check_deleted(pusher, blob):
    answer = pusher.ask("DELETE", path_of(blob, pusher.name))
    assert answer.status == 202, answer
    assert pusher.ask("HEAD", path_of(blob, pusher.name)).status == 404


def check_round_trip(pusher, answer, blob):
    check_pushed(pusher, answer, blob)
    check_deleted(pusher, blob)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_get_missing(pusher, alg):
    answer = pusher.ask("GET", path_of(new_blob(alg)))
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")


def chunked_single(pusher, blob):
    return push.chunked(pusher, blob, size=max(blob.size, 1))


def chunked_multi(pusher, blob):
    return push.chunked(pusher, blob)


def chunked_multi_and_put_chunk(pusher, blob):
    return push.chunked(pusher, blob, put_last=True)


def refuse_first(pusher, blob):
    """
    Ahead of every chunk a wrong one, which is 416 and leaves the session as
    it was: one too far ahead; and before the last the first once more.  By
    PUT where the chunk itself would come by PUT.
    """
    def before(where, at, data, last):
        end = at + KIB >= blob.size
        wrong = 0 if end else at + KIB
        piece = blob.data[wrong:wrong + KIB]
        answer = pusher.put(where, blob.digest, piece, wrong) if last \
            else pusher.patch(where, piece, wrong)
        assert (answer.status, answer.code) == (416, "RANGE_INVALID"), answer
        check_state(answer, pusher.uploads, at)
        state = pusher.state(push.with_digest(where, blob.digest))
        assert state.status == 204, state
        check_state(state, pusher.uploads, at)
    return before


def chunked_out_of_order(pusher, blob):
    return push.chunked(pusher, blob, before=refuse_first(pusher, blob))


def chunked_out_of_order_and_put_chunk(pusher, blob):
    return push.chunked(pusher, blob, put_last=True,
                        before=refuse_first(pusher, blob))


FORMS = {
    "post only": (push.post_only, 512),
    "post+put": (push.post_put, 512),
    "chunked single": (chunked_single, 512),
    "stream": (push.stream, 512),
    "chunked multi": (chunked_multi, 3067),
    "chunked multi and put chunk": (chunked_multi_and_put_chunk, 3067),
    "chunked out-of-order": (chunked_out_of_order, 3067),
    "chunked out-of-order and put chunk":
        (chunked_out_of_order_and_put_chunk, 3067),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_push_of_a_blob(pusher, alg, form):
    call, size = FORMS[form]
    blob = new_blob(alg, size)
    check_round_trip(pusher, call(pusher, blob), blob)


@pytest.mark.parametrize("form", ["post only", "post+put", "chunked single",
                                  "stream"])
@pytest.mark.parametrize("data", [b"", b"{}"], ids=["empty", "emptyJSON"])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_push_of_hardly_anything(pusher, alg, data, form):
    """The suite does it by post+put alone."""
    if not data and form == "chunked single":
        form = "post+put"  # no Content-Range speaks of no bytes
    blob = content.blob_of(data, alg)
    check_round_trip(pusher, FORMS[form][0](pusher, blob), blob)


@pytest.mark.parametrize("source", [REPO2, None], ids=["mount",
                                                       "mount anonymous"])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_mount(registry, pusher, alg, source):
    """A link of its own: each repository loses the blob by itself."""
    other = Pusher(registry, REPO2)
    blob = new_blob(alg)
    check_pushed(other, push.post_put(other, blob), blob)
    assert pusher.ask("HEAD", path_of(blob)).status == 404
    check_pushed(pusher, pusher.mount(blob.digest, source), blob)
    check_deleted(pusher, blob)
    assert other.ask("HEAD", path_of(blob, REPO2)).status == 200
    check_deleted(other, blob)


@pytest.mark.parametrize("source", [REPO2, None, "conformance/nosuch"])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_mount_missing(pusher, alg, source):
    """It is a session, and that one works."""
    blob = new_blob(alg)
    answer = pusher.mount(blob.digest, source)
    assert answer.status == 202, answer
    check_state(answer, pusher.uploads, 0)
    answer = pusher.put(answer.headers["Location"], blob.digest, blob.data)
    check_round_trip(pusher, answer, blob)


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_post_cancel(pusher, alg):
    where = pusher.begin()
    blob = new_blob(alg)
    assert pusher.patch(where, blob.data).status == 202
    assert pusher.ask("DELETE", where).status == 204
    assert pusher.put(where, blob.digest).status == 404
    assert pusher.ask("HEAD", path_of(blob)).status == 404


@pytest.mark.parametrize("range_, first, last", [
    ("500-1499", 500, 1499), ("500-", 500, 2047), ("-500", 1548, 2047),
    ("2000-5000", 2000, 2047), ("500-0", None, None),
    ("5000-10000", None, None)])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_range_requests(pusher, alg, range_, first, last):
    blob = new_blob(alg, 2048)
    assert push.post_put(pusher, blob).status == 201
    answer = pusher.ask("GET", path_of(blob), {"Range": f"bytes={range_}"})
    if first is None:
        assert answer.status == 416, answer
        assert answer.headers["Content-Range"] == "bytes */2048"
    else:
        assert answer.status == 206, answer
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/2048"
        assert answer.body == blob.data[first:last + 1]
    check_deleted(pusher, blob)


@pytest.mark.parametrize("form", [
    "post only", "post+put", "chunked multi", "chunked multi and put chunk",
    "stream"])
@pytest.mark.parametrize("alg", ALGORITHMS)
def test_bad_digest(pusher, alg, form):
    call, size = FORMS[form]
    blob = new_blob(alg, size)
    answer = call(pusher, push.wrong_content(blob))
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID"), answer
    assert pusher.ask("HEAD", path_of(blob)).status == 404


# ---- every kind of content: push, tag list, head, pull, referrers, delete ----

class Held:
    """A data set in a repository."""

    def __init__(self, daemon, made):
        self.made = made
        self.pusher = Pusher(daemon, REPO1)
        self.answers = []  # (image, tags, answer of the PUT)

    def push(self):
        for blob in self.made.blobs.values():
            answer = push.post_put(self.pusher, blob)
            assert answer.status == 201, answer
        for one in self.made.manifests:
            tags = self.made.tags_of(one)
            self._put(one, tags if self.made.by_param else [])
            if not self.made.by_param:
                for tag in tags:
                    self._put(one, [], tag)

    def _put(self, image, tags, reference=None):
        """The suite sends manifests without a length."""
        answer = self.pusher.put_manifest(image, reference, tags,
                                          chunked=True)
        self.answers.append((image, tags, answer))

    def ask(self, method, path, headers=()):
        connection = self.pusher.connection
        connection.send_head(method, f"/v2/{REPO1}/{path}", list(headers))
        return connection.read(method)

    def tags(self, query=""):
        answer = self.ask("GET", "tags/list" + query)
        assert answer.status == 200, answer
        assert answer.json()["name"] == REPO1
        return answer.json()["tags"] or []

    def check_manifests(self, method):
        """By each tag and each digest."""
        for reference, image in [*self.made.tags.items(), *(
                (one.digest, one) for one in self.made.manifests)]:
            answer = self.ask(method, f"manifests/{reference}", ACCEPT)
            assert answer.status == 200, answer
            assert answer.digest == image.digest
            assert answer.headers["Content-Type"] == image.media_type
            assert answer.length == image.size
            assert method == "HEAD" or answer.body == image.data

    def check_blobs(self, method):
        for blob in self.made.blobs.values():
            answer = self.ask(method, f"blobs/{blob.digest}")
            assert answer.status == 200, answer
            assert answer.digest == blob.digest
            assert answer.length == blob.size
            assert method == "HEAD" or answer.body == blob.data

    def delete(self):
        """Tags, then manifests with those that name others first, then blobs;
        each is gone at once."""
        for path in [*(f"manifests/{tag}" for tag in self.made.tags),
                     *(f"manifests/{one.digest}"
                       for one in reversed(self.made.manifests)),
                     *(f"blobs/{digest}" for digest in self.made.blobs)]:
            answer = self.ask("DELETE", path)
            assert answer.status == 202, (path, answer)
            assert self.ask("HEAD", path, ACCEPT).status == 404, path


@pytest.fixture(scope="module", params=datasets.SETS)
def held(shared, request):
    """Pushed once for the tests below, which run for one set at a time."""
    held = Held(shared, datasets.make(request.param))
    held.push()
    return held


@pytest.fixture(autouse=True)
def fresh_connection(request):
    """A failed test leaves the next one no half-read answer."""
    yield
    if "held" in request.fixturenames:
        held = request.getfixturevalue("held")
        held.pusher = Pusher(request.getfixturevalue("shared"), REPO1)


def test_push(registry, held):
    assert held.answers
    for image, tags, answer in held.answers:
        assert answer.status == 201, answer
        assert answer.digest == image.digest
        assert answer.headers.get("OCI-Subject") == image.subject
        said = ",".join(answer.headers.all("OCI-Tag")).replace(" ", "")
        assert sorted(filter(None, said.split(","))) == tags
        where = answer.headers["Location"].removeprefix(f"/v2/{REPO1}/")
        found = held.ask("GET", where, ACCEPT)
        assert (found.status, found.body) == (200, image.data)


def test_tag_list(registry, held):
    """Bytewise, without following a Link; `last` alone has what is beyond."""
    everything = held.tags()
    assert set(held.made.tags) <= set(everything)
    assert everything == sorted(everything, key=str.encode)
    for last in [*everything, "A", "zz"]:
        assert held.tags(f"?last={last}") == \
            [tag for tag in everything if tag.encode() > last.encode()]


def test_head(registry, held):
    held.check_manifests("HEAD")
    held.check_blobs("HEAD")


def test_pull(registry, held):
    held.check_manifests("GET")
    held.check_blobs("GET")


def test_referrers(registry, held):
    """Of every subject, all; and of each type, those alone."""
    for subject in [one["digest"] for one in held.made.subjects] + \
            [one.digest for one in held.made.manifests]:
        wanted = held.made.referrers(subject)
        answer = held.ask("GET", f"referrers/{subject}")
        assert referrers_of(answer) == wanted
        for kind in {one.get("artifactType") for one in wanted.values()} | \
                {"application/vnd.example.nothing"}:
            answer = held.ask("GET",
                              f"referrers/{subject}?artifactType={kind}")
            assert answer.headers["OCI-Filters-Applied"] == "artifactType"
            assert referrers_of(answer) == {
                digest: one for digest, one in wanted.items()
                if one.get("artifactType") == kind}


def test_delete(registry, held):
    held.delete()
    assert not set(held.made.tags) & set(held.tags())
    for subject in held.made.subjects:
        answer = held.ask("GET", f"referrers/{subject['digest']}")
        assert referrers_of(answer) == {}


# ---- what is refused ----

def test_bad_digest_image(registry):
    """Two blanks more than its digest speaks of; the blobs are there."""
    held = Held(registry, datasets.make("image"))
    for blob in held.made.blobs.values():
        assert push.post_put(held.pusher, blob).status == 201
    image = held.made.manifests[0]
    wrong = content.Image(image.data + b"  ", image.digest, image.media_type)
    answer = held.pusher.put_manifest(wrong, chunked=True)
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID"), answer
    assert held.ask("HEAD", f"manifests/{image.digest}").status == 404
    held.check_blobs("GET")
    answer = held.ask("DELETE", f"manifests/{image.digest}")
    assert answer.status == 404
    for digest in held.made.blobs:
        assert held.ask("DELETE", f"blobs/{digest}").status == 202


@pytest.mark.parametrize("reference", [
    "missing", *(content.digest_of(b"missing", alg) for alg in ALGORITHMS)],
    ids=["by-tag", "by-digest", "by-digest-sha512"])
def test_missing_manifest(registry, reference):
    answer = registry.manifest(REPO1, reference)
    assert answer.status == 404
    assert answer.code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN")
    assert registry.manifest(REPO1, reference, "HEAD").status == 404


@pytest.mark.parametrize("reference", [
    "sha256:baddigeststring", "sha256:" + "A" * 64, "sha256:" + "0" * 63,
    "sha512:" + "0" * 64, "md5:" + "0" * 32, "sha256:"])
def test_invalid_digest_format(registry, pusher, reference):
    made = datasets.make("image")
    image = made.manifests[0]
    for method, body in (("PUT", image.data), ("GET", None),
                         ("DELETE", None)):
        answer = registry.request(
            method, f"/v2/{REPO1}/manifests/{reference}",
            {"Content-Type": image.media_type}, body)
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID"), answer
    answer = registry.get(f"/v2/{REPO1}/blobs/{reference}")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID"), answer


def test_sparse_manifests_are_refused_where_they_are_not_allowed(registry):
    """The layer, that is; an index may lack children anywhere."""
    pusher = Pusher(registry, "team/app")
    made = datasets.make("sparse")
    for blob in made.blobs.values():
        assert push.post_put(pusher, blob).status == 201
    lacking, image, index = made.manifests
    answer = pusher.put_manifest(lacking)
    assert (answer.status, answer.code) == (400, "MANIFEST_BLOB_UNKNOWN")
    assert pusher.put_manifest(image).status == 201
    assert pusher.put_manifest(index, "sparse").status == 201


@pytest.mark.parametrize("count, length, status", [
    (10, 128, 201), (100, 30, 201), (101, 30, 414), (100, 128, 414)])
def test_many_tags_in_one_push(registry, count, length, status):
    """The specification wants 10 at least; one head names them all again."""
    pusher = Patient(registry, f"conformance/{'long' * 50}/tags")
    image = datasets.make("empty-index").manifests[0]
    tags = [f"{i:03}".ljust(length, "t") for i in range(count)]
    answer = pusher.put_manifest(image, tags=tags)
    assert answer.status == status, answer
    assert answer.headers.all("OCI-Tag") == (tags if status == 201 else [])
    assert registry.get("/healthz").status == 200
