# SPDX-License-Identifier: Apache-2.0
"""Pulling through: what each name means, and what each answer carries."""

import json
import time

import pytest

import client
import content
from client import SLOW
from daemon import Watch, seconds

MANIFEST_TYPES = {content.OCI_INDEX, content.OCI_MANIFEST,
                  content.DOCKER_LIST, content.DOCKER_MANIFEST}


@pytest.fixture
def index():
    return content.make_index([
        content.make_image([200_000, 70_000], "amd64", compress=True),
        content.make_image([150_000], "arm64", arch="arm64")])


def pullers(daemon):
    return {"docker": lambda: client.Docker(daemon.address),
            "containerd": lambda: client.Containerd(daemon.address),
            "podman": lambda: client.Podman(daemon.address)}


# ---- whole pulls ----

@pytest.mark.parametrize("who", ["docker", "containerd", "podman"])
def test_cold_then_warm_pull_asks_for_each_thing_once(up, entrepot, index,
                                                      who):
    up.put_image("library/a", "1", index)
    for _ in range(2):
        pullers(entrepot)[who]().pull("library/a", "1", index)
    child = index.children[0]
    for blob in child.blobs:
        assert up.bytes_sent(blob.digest) == blob.size
        assert len(up.fetches(blob.digest)) == 1
    for one in (index, child):
        assert len([r for r in up.requests("manifest", "GET")
                    if r.status == 200 and
                    r.reference in (one.digest, "1")]) >= 1
        assert up.count(kind="manifest", method="GET",
                        digest=one.digest) <= 1
    assert not up.requests(digest=index.children[1].config.digest)


def test_every_kind_of_client_shares_what_one_has_pulled(up, entrepot, index):
    up.put_image("library/a", "1", index)
    client.Docker(entrepot.address).pull("library/a", "1", index)
    up.forget()
    client.Containerd(entrepot.address).pull("library/a", "1", index)
    client.Podman(entrepot.address).pull("library/a", "1", index)
    assert not up.requests()


@pytest.mark.parametrize("cdn", [True, False])
def test_blobs_with_and_without_a_redirect(new_up, new_entrepot, image, cdn):
    up = new_up(cdn=cdn)
    up.put_image("library/a", "1", image)
    entrepot = new_entrepot(up)
    client.Podman(entrepot.address).pull("library/a", "1", image)
    assert up.count(kind="cdn") == (3 if cdn else 0)
    for blob in image.blobs:
        entrepot.wait_stored(blob)


def test_docker_media_types(up, entrepot):
    image = content.make_index(
        [content.make_image([9000], "d", docker=True, compress=True)],
        docker=True)
    up.put_image("library/a", "1", image)
    client.Docker(entrepot.address).pull("library/a", "1", image)
    client.Docker(entrepot.address).pull("library/a", "1", image)


def test_sha512_image(up, entrepot):
    image = content.make_image([90_000], "long", alg="sha512")
    up.put_image("library/a", "1", image)
    client.Containerd(entrepot.address).pull("library/a", "1", image)
    for blob in image.blobs:
        entrepot.wait_stored(blob)
    assert entrepot.manifest("library/a", image.digest).digest == image.digest


def test_empty_blob(up, entrepot):
    image = content.make_image([0, 5], "empty")
    up.put_image("library/a", "1", image)
    for _ in range(2):
        client.Podman(entrepot.address).pull("library/a", "1", image)
    assert entrepot.blob("library/a", image.layers[0].digest,
                         method="HEAD").length == 0


def test_large_manifest_is_kept_in_a_file_and_survives_a_restart(up, entrepot):
    image = content.make_image([1000], "pad", pad=300_000)
    up.put_image("library/a", "1", image)
    client.check_manifest(entrepot.manifest("library/a", "1"), image)
    client.check_manifest(entrepot.manifest("library/a", image.digest), image)
    entrepot.restart()
    up.forget()
    client.check_manifest(entrepot.manifest("library/a", image.digest), image)
    assert entrepot.manifest("library/a", "1", "HEAD").length == image.size
    assert not up.requests(method="GET")


def test_manifest_bytes_are_kept_exactly(up, entrepot):
    document = b'{ "schemaVersion" : 2,\n\t"odd":"\xc3\xa9", "manifests":[ ]}\n'
    odd = content.Image(document, content.digest_of(document),
                        content.OCI_INDEX)
    up.put_image("library/a", "odd", odd)
    for _ in range(2):
        client.check_manifest(entrepot.manifest("library/a", "odd"), odd)
        client.check_manifest(entrepot.manifest("library/a", odd.digest), odd)


def test_restart_keeps_what_was_pulled(up, entrepot, image):
    up.put_image("library/a", "1", image)
    client.Docker(entrepot.address).pull("library/a", "1", image)
    for blob in image.blobs:
        entrepot.wait_stored(blob)
    entrepot.restart()
    up.forget()
    client.Docker(entrepot.address).pull("library/a", "1", image)
    assert not up.requests(("blob", "cdn"))
    assert not up.requests("manifest", "GET")


# ---- one answer ----

def test_start_opens_no_blob_and_lists_no_folder_of_blobs(up, entrepot,
                                                           image):
    """Whatever the number of blobs: only partial/, uploads/ and the trash."""
    up.put_image("library/a", "1", image)
    client.Docker(entrepot.address).pull("library/a", "1", image)
    for blob in image.blobs:
        entrepot.wait_stored(blob)
    assert entrepot.stop() == 0
    folder = entrepot.data / "blobs"
    watch = Watch([folder, *(p for p in folder.rglob("*") if p.is_dir())])
    entrepot.start()
    client.check_manifest(entrepot.manifest("library/a", "1"), image)
    assert not watch.seen()
    blob = image.layers[0]
    client.check_blob(entrepot.blob("library/a", blob.digest), blob)
    assert any(name.endswith(blob.digest.partition(":")[2])
               for name in watch.seen())
    watch.close()


def test_hits_cost_no_commit(up, entrepot, image):
    up.put_image("library/a", "1", image)
    client.Docker(entrepot.address).pull("library/a", "1", image)
    blob = image.layers[1]
    entrepot.wait_stored(blob)
    entrepot.wait_committed()

    def commits():
        return entrepot.metrics()["entrepot_index_commits_total"]

    before = commits()
    connection = entrepot.connect()
    for _ in range(200):
        for path in (f"blobs/{blob.digest}", "manifests/1",
                     f"manifests/{image.digest}"):
            answer = connection.get(f"/v2/library/a/{path}")
            assert answer.verdict == "hit"
    # What was used is written down every few seconds.
    assert commits() - before < 20


def test_ping(entrepot):
    for path in ("/v2/", "/v2"):
        for method in ("GET", "HEAD"):
            response = entrepot.request(method, path)
            assert response.status == 200
            assert response.headers["Docker-Distribution-Api-Version"] == \
                "registry/2.0"
            assert "WWW-Authenticate" not in response.headers
    assert json.loads(entrepot.get("/v2/").body) == {}


def test_verdicts_of_a_tag_and_of_blobs(up, new_entrepot, image):
    entrepot = new_entrepot(up, check=seconds(1))
    up.put_image("library/a", "1", image)
    assert entrepot.manifest("library/a", "1").verdict == "miss"
    warm = entrepot.manifest("library/a", "1")
    assert warm.verdict == "hit" and int(warm.headers["Age"]) in (0, 1)
    time.sleep(1.05 * SLOW)
    assert entrepot.manifest("library/a", "1").verdict == "revalidated"
    blob = image.layers[0]
    assert entrepot.blob("library/a", blob.digest).verdict == "miss"
    entrepot.wait_stored(blob)
    assert entrepot.blob("library/a", blob.digest).verdict == "hit"


def test_headers_of_a_blob(up, entrepot, image):
    up.put_image("library/a", "1", image)
    entrepot.learn("library/a", "1", image)
    blob = image.layers[0]
    for _ in range(2):
        response = entrepot.blob("library/a", blob.digest,
                                 {"Accept-Encoding": "gzip, zstd"})
        client.check_blob(response, blob)
        assert response.digest == blob.digest
        assert response.headers["ETag"] == f'"{blob.digest}"'
        assert response.headers["Accept-Ranges"] == "bytes"
        assert "Content-Encoding" not in response.headers
        assert "Location" not in response.headers
        entrepot.wait_stored(blob)
    head = entrepot.blob("library/a", blob.digest, method="HEAD")
    assert (head.status, head.length) == (200, blob.size)


def test_head_of_a_cold_tag_fetches_nothing(up, entrepot, image):
    up.put_image("library/a", "1", image)
    head = entrepot.manifest("library/a", "1", "HEAD")
    assert (head.status, head.digest, head.length) == \
        (200, image.digest, image.size)
    assert head.headers["Content-Type"] == image.media_type
    assert not up.requests("manifest", "GET")


def test_head_of_a_cold_blob_costs_no_body(up, entrepot, image):
    up.put_image("library/a", "1", image)
    known, unknown = image.layers[0], content.make_blob(777_777, "unknown")
    up.put_blob("library/a", unknown)
    entrepot.learn("library/a", "1", image)
    up.forget()
    head = entrepot.blob("library/a", known.digest, method="HEAD")
    assert (head.status, head.length) == (200, known.size)
    head = entrepot.blob("library/a", unknown.digest, method="HEAD")
    assert (head.status, head.length) == (200, unknown.size)
    assert up.bytes_sent(probes=True) <= 2
    assert not up.requests(("blob", "cdn"), "HEAD")


def test_if_none_match(up, entrepot, image):
    up.put_image("library/a", "1", image)
    client.Podman(entrepot.address).pull("library/a", "1", image)
    blob = image.layers[0]
    for path, digest in ((f"/v2/library/a/manifests/{image.digest}",
                          image.digest),
                         ("/v2/library/a/manifests/1", image.digest),
                         (f"/v2/library/a/blobs/{blob.digest}", blob.digest)):
        connection = entrepot.connect()
        for value in (f'"{digest}"', f'"x", "{digest}"', f'W/"{digest}"'):
            same = connection.get(path, {"If-None-Match": value})
            assert (same.status, same.body) == (304, b""), value
            assert same.headers["ETag"] == f'"{digest}"'
        other = connection.get(path, {"If-None-Match": '"sha256:00"'})
        assert other.status == 200


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_condition_is_looked_at_where_there_is_something(up, entrepot, image,
                                                         method):
    """RFC 9110, 13.2.1: what is no 2xx without it is that with it, too."""
    up.put_image("library/a", "1", image)
    nothing = content.digest_of(b"nothing")
    there = image.layers[0].digest

    def ask(name, digest, value, headers=None):
        headers = {**(headers or {}), "If-None-Match": value}
        return entrepot.blob(name, digest, headers, method)

    for value in ("*", f'"{nothing}"', f'"{there}"'):
        assert ask("library/none", nothing, value).status == 404, value
        assert ask("library/a", nothing, value).status == 404, value
        assert ask("library/none", there, value).status == 404, value
    # Cold: upstream says yes, and keeps its bytes.
    for headers in ({}, {"Range": "bytes=0-9"}):
        for value in ("*", f'"{there}"'):
            same = ask("library/a", there, value, headers)
            assert (same.status, same.body) == (304, b""), value
            assert same.headers["ETag"] == f'"{there}"'
    assert ask("library/a", there, f'"{nothing}"').status == 200
    client.Podman(entrepot.address).pull("library/a", "1", image)
    entrepot.wait_stored(image.layers[0])
    # Held, but not by this one.
    for value in ("*", f'"{there}"'):
        assert ask("library/a", there, value).status == 304
        assert ask("library/none", there, value).status == 404
    up.close()
    for value in ("*", f'"{nothing}"'):
        assert ask("library/a", nothing, value).status in (502, 503, 504)


def test_304_of_a_cold_blob_fetches_no_body(up, entrepot, image):
    up.put_image("library/a", "1", image)
    blob = image.layers[0]
    for value in ("*", f'"{blob.digest}"'):
        answer = entrepot.blob("library/a", blob.digest,
                               {"If-None-Match": value})
        assert answer.status == 304, answer
    assert up.bytes_sent(blob.digest) == 0
    assert up.bytes_sent(blob.digest, probes=True) <= 2


def test_by_tag_respects_what_the_client_accepts(up, entrepot, index):
    up.put_image("library/a", "1", index)
    path = "/v2/library/a/manifests/1"
    for accept in (None, "*/*", "application/*", content.OCI_INDEX,
                   "application/json", f"text/html, {content.OCI_INDEX}",
                   content.DOCKER_LIST + ";q=0.5, */*;q=0.1"):
        response = entrepot.get(path, {"Accept": accept} if accept else {})
        assert response.status == 200, accept
        assert response.headers["Content-Type"] == content.OCI_INDEX
    for accept in (content.DOCKER_MANIFEST, content.OCI_INDEX + ";q=0"):
        refused = entrepot.get(path, {"Accept": accept})
        assert refused.status == 404 and refused.code == "MANIFEST_UNKNOWN"
        assert "accept" in refused.message.lower()
    by_digest = entrepot.manifest("library/a", index.digest,
                                  headers={"Accept": content.DOCKER_MANIFEST})
    client.check_manifest(by_digest, index)


def test_several_accept_lines_count_as_one_list(up, entrepot, index):
    up.put_image("library/a", "1", index)
    connection = entrepot.connect()
    connection.send_head("GET", "/v2/library/a/manifests/1",
                         [("Accept", content.DOCKER_MANIFEST),
                          ("Accept", content.OCI_INDEX)])
    assert connection.read().status == 200


def test_upstream_is_asked_with_our_own_accept_list(up, entrepot, index):
    up.put_image("library/a", "1", index)
    narrow = {"Accept": content.DOCKER_MANIFEST}
    assert entrepot.manifest("library/a", "1", headers=narrow).status == 404
    assert entrepot.manifest("library/a", "1").status == 200
    for request in up.requests("manifest"):
        assert MANIFEST_TYPES <= {a.split(";")[0].strip() for a in
                                  request.headers["accept"].split(",")}


def test_client_credentials_and_cookies_stay_here(up, entrepot, image):
    up.put_image("library/a", "1", image)
    up.fault(kind="any", headers={"Set-Cookie": "a=b", "X-Odd": "1"})
    secret = {"Authorization": "Bearer mine", "Cookie": "mine",
              "X-Meta-Thing": "mine"}
    answers = [entrepot.manifest("library/a", "1", headers=secret),
               entrepot.blob("library/a", image.layers[0].digest, secret)]
    for response in answers:
        assert response.status == 200
        assert "Set-Cookie" not in response.headers
        assert "X-Odd" not in response.headers
    for request in up.requests():
        assert "mine" not in str(request.headers)


# ---- names ----

def asked(up):
    return {r.name for r in up.requests() if r.name}


@pytest.mark.parametrize("path, name", [
    ("alpine", "library/alpine"),
    ("library/alpine", "library/alpine"),
    ("org/img", "org/img"),
    ("docker.io/alpine", "library/alpine"),
    ("docker.io/org/img", "org/img"),
    ("index.docker.io/org/img", "org/img"),
    ("registry-1.docker.io/alpine", "library/alpine"),
    ("org/manifests/blobs", "org/manifests/blobs"),
    ("org/tags/list/manifests", "org/tags/list/manifests"),
])
def test_name_without_ns(up, entrepot, image, path, name):
    up.put_image(name, "1", image)
    client.check_manifest(entrepot.manifest(path, "1"), image)
    blob = image.layers[0]
    client.check_blob(entrepot.blob(path, blob.digest), blob)
    assert asked(up) == {name}
    assert "OCI-Namespace" not in entrepot.manifest(path, "1").headers


@pytest.mark.parametrize("ns, path, name", [
    ("docker.io", "library/alpine", "library/alpine"),
    ("docker.io", "alpine", "library/alpine"),
    ("Docker.IO", "org/img", "org/img"),
    ("docker.io:443", "org/img", "org/img"),
    ("index.docker.io", "org/img", "org/img"),
    ("docker.io", "docker.io/org/img", "org/img"),
])
def test_ns_selects_the_upstream(up, entrepot, image, ns, path, name):
    up.put_image(name, "1", image)
    response = entrepot.get(f"/v2/{path}/manifests/1?ns={ns}")
    client.check_manifest(response, image)
    assert response.headers["OCI-Namespace"] == ns
    assert asked(up) == {name}


def test_two_upstreams_do_not_mix(new_up, new_entrepot):
    hub, quay = new_up(), new_up()
    entrepot = new_entrepot({"docker.io": hub, "quay.io": quay})
    ours = content.make_image([5000], "hub")
    theirs = content.make_image([5000], "quay")
    hub.put_image("org/img", "1", ours)
    quay.put_image("org/img", "1", theirs)
    check = client.check_manifest
    check(entrepot.manifest("org/img", "1"), ours)
    check(entrepot.manifest("quay.io/org/img", "1"), theirs)
    check(entrepot.get("/v2/org/img/manifests/1?ns=quay.io"), theirs)
    check(entrepot.get("/v2/org/img/manifests/1?ns=docker.io"), ours)
    check(entrepot.get("/v2/quay.io/org/img/manifests/1?ns=quay.io"), theirs)
    assert asked(hub) == asked(quay) == {"org/img"}
    missing = entrepot.blob("quay.io/org/img", ours.layers[0].digest)
    assert missing.status == 404 and missing.code == "BLOB_UNKNOWN"


def test_upstream_with_a_port_and_an_alias(up, new_entrepot, image):
    entrepot = new_entrepot({"registry.example:5001": up},
                            aliases=["mirror.example"])
    up.put_image("org/img", "1", image)
    for path in ("registry.example:5001/org/img", "mirror.example/org/img"):
        client.check_manifest(entrepot.manifest(path, "1"), image)
    sent = entrepot.get(
        "/v2/org/img/manifests/1?ns=registry.example%3A5001")
    client.check_manifest(sent, image)
    assert sent.headers["OCI-Namespace"] == "registry.example:5001"


def test_ns_that_is_not_configured_is_refused_and_not_dialled(up, entrepot):
    response = entrepot.get("/v2/org/img/manifests/1?ns=evil.example")
    assert response.status == 404 and response.code == "NAME_UNKNOWN"
    assert "evil.example" in response.message
    assert not up.requests()


def test_ns_that_is_empty_or_ours_counts_as_absent(up, new_entrepot, image):
    entrepot = new_entrepot(up, {"names": ["mirror.lan"]})
    up.put_image("library/alpine", "1", image)
    for ns in ("", "mirror.lan"):
        client.check_manifest(
            entrepot.get(f"/v2/alpine/manifests/1?ns={ns}"), image)


def test_repeated_ns_is_400(up, entrepot):
    path = "/v2/org/img/manifests/1?ns=docker.io&ns=docker.io"
    assert entrepot.get(path).status == 400
    assert not up.requests()


def test_host_that_is_not_configured_is_not_asked_for_at_hub(up, entrepot):
    for path in ("unknown.example/org/img", "localhost/org/img"):
        response = entrepot.manifest(path, "1")
        assert response.status == 404 and response.code == "NAME_UNKNOWN"
    assert not up.requests()


def test_hosted_names_are_never_asked_upstream(up, new_entrepot, image):
    entrepot = new_entrepot(up, {"hosted": ["team/**", "one/*"]})
    for name in ("team/app", "team/sub/app", "one/app"):
        up.put_image(name, "1", image)
        response = entrepot.manifest(name, "1")
        assert response.status == 404
        assert response.code in ("NAME_UNKNOWN", "MANIFEST_UNKNOWN")
        assert entrepot.blob(name, image.layers[0].digest).status == 404
    assert not up.requests()
    up.put_image("one/two/app", "1", image)
    assert entrepot.manifest("one/two/app", "1").status == 200


def test_no_default_upstream(up, new_entrepot, image):
    entrepot = new_entrepot(up, {"default_upstream": None})
    up.put_image("org/img", "1", image)
    assert entrepot.manifest("org/img", "1").status == 404
    assert not up.requests()
    assert entrepot.manifest("docker.io/org/img", "1").status == 200


def test_prefix_and_path_of_an_upstream(up, new_entrepot, image):
    up.mount = "/artifactory/api"
    entrepot = new_entrepot(up, prefix="hub-proxy")
    up.put_image("hub-proxy/library/alpine", "1", image)
    client.Docker(entrepot.address).pull("library/alpine", "1", image)
    assert asked(up) == {"hub-proxy/library/alpine"}


@pytest.mark.parametrize("name", [
    "Org/img", "org//img", "-org/img", "org/img-", "org/_img", "a" * 300,
    "org/im%20g", "org/..", "org/a%2Fb/%2e%2e"])
def test_bad_names_are_refused(up, entrepot, name):
    response = entrepot.manifest(name, "1")
    assert response.status in (400, 404), name
    assert response.code in ("NAME_INVALID", "NAME_UNKNOWN",
                             "UNSUPPORTED", "NOT_FOUND"), name
    assert not up.requests()


@pytest.mark.parametrize("reference", [
    "sha256:zz", "sha256:" + "A" * 64, "sha256:" + "0" * 63, "md5:" + "0" * 32,
    "sha512:" + "0" * 64, ":", "sha256:"])
def test_bad_digests_are_400(up, entrepot, reference):
    for kind in ("manifests", "blobs"):
        response = entrepot.get(f"/v2/library/a/{kind}/{reference}")
        assert (response.status, response.code) == (400, "DIGEST_INVALID")
    assert not up.requests()


@pytest.mark.parametrize("path", [
    "/", "/v1/", "/v2/_x", "/v2/a/_x/y", "/v2/a/blobs/uploads/x",
    "/v2/a", "/v3/", "/extensions/v2/a/signatures/b"])
def test_unknown_paths_are_404_in_json(up, entrepot, path):
    response = entrepot.get(path)
    assert response.status == 404 and response.json()["errors"]
    assert not up.requests()


# ---- who may have a blob ----

def test_blob_that_no_manifest_names_needs_the_upstreams_yes(up, entrepot,
                                                             image):
    up.put_image("library/a", "1", image)
    blob = image.layers[0]
    client.check_blob(entrepot.blob("library/a", blob.digest), blob)
    entrepot.wait_stored(blob)
    up.put_image("library/none", "1", content.make_image([10], "none"))
    refused = entrepot.blob("library/none", blob.digest)
    assert (refused.status, refused.code) == (404, "BLOB_UNKNOWN")
    up.put_blob("library/other", blob)
    up.forget()
    client.check_blob(entrepot.blob("library/other", blob.digest), blob)
    client.check_blob(entrepot.blob("library/other", blob.digest), blob)
    assert up.bytes_sent(blob.digest, probes=True) == 1
    assert up.count(kind="blob", name="library/other") == 1


def test_blob_named_by_a_manifest_of_the_repository_is_shared(up, entrepot,
                                                              image):
    blob = image.layers[0]
    other = content.make_image([blob, 5000], "other")
    up.put_image("library/a", "1", image)
    up.put_image("library/b", "1", other)
    client.Podman(entrepot.address).pull("library/a", "1", image)
    entrepot.wait_stored(blob)
    up.forget()
    client.Podman(entrepot.address).pull("library/b", "1", other)
    assert not up.requests(digest=blob.digest)


def test_subject_is_not_a_child(up, entrepot, image):
    signature = content.make_image([100], "sig", subject=image)
    up.put_image("library/a", "1", image)
    up.put_image("library/b", "sig", signature)
    entrepot.learn("library/a", "1", image)
    entrepot.learn("library/b", "sig", signature)
    assert entrepot.manifest("library/b", image.digest).status == 404


# ---- other listeners ----

def test_several_listeners_and_ipv6(up, new_entrepot, image):
    up.put_image("library/a", "1", image)
    entrepot = new_entrepot(up, {"listen": ["127.0.0.1:0", "[::1]:0"]})
    assert len(set(entrepot.ports)) == 2
    for host, port in zip(("127.0.0.1", "::1"), entrepot.ports):
        response = client.request((host, port), "GET",
                                  "/v2/library/a/manifests/1",
                                  {"Host": "mirror"})
        client.check_manifest(response, image)


def test_listener_that_mirrors_one_upstream(up, new_entrepot, image):
    entrepot = new_entrepot(up, {
        "hosted": ["team/**"], "default_upstream": None,
        "listen": ["127.0.0.1:0",
                   {"address": "127.0.0.2:0", "mirror_of": "docker.io"}]})
    up.put_image("team/app", "1", image)
    assert entrepot.manifest("team/app", "1").status == 404
    other = ("127.0.0.2", entrepot.ports[1])
    response = client.request(other, "GET", "/v2/team/app/manifests/1")
    client.check_manifest(response, image)


def test_every_loop_serves_from_the_same_cache(up, new_entrepot, image):
    entrepot = new_entrepot(up, {"server.loops": 4})
    up.put_image("library/a", "1", image)
    entrepot.learn("library/a", "1", image)
    connections = [entrepot.connect() for _ in range(12)]
    for connection in connections:
        client.check_manifest(
            connection.get(f"/v2/library/a/manifests/{image.digest}"), image)
    assert up.count(kind="manifest", method="GET", status=200) <= 2
