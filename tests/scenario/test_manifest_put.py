# SPDX-License-Identifier: Apache-2.0
"""
PUT of a manifest in a hosted repository: what it has to be, what it may lack,
how large it may be, and whose tag it is when several push at once.
"""

import json

import pytest

import content
from client import Background, all_at_once, check_blob, check_manifest
from content import (DOCKER_CONFIG, DOCKER_LAYER, DOCKER_LIST,
                     DOCKER_MANIFEST, FOREIGN_LAYER, MIB, OCI_CONFIG,
                     OCI_INDEX, OCI_LAYER, OCI_MANIFEST)
from push import NAME, Pusher, post_put

OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1"
NONDISTRIBUTABLE = "application/vnd.oci.image.layer.nondistributable.v1.tar"
CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
OTHER = "application/vnd.example.thing.v1+json"


@pytest.fixture
def registry(new_entrepot):
    return new_entrepot(None, {"default_upstream": None})


@pytest.fixture
def pusher(registry):
    return Pusher(registry)


def made_of(document, media_type=OCI_MANIFEST):
    data = document if isinstance(document, bytes) else \
        json.dumps(document).encode()
    return content.Image(data, content.digest_of(data), media_type)


def put(pusher, image, reference="1", content_type=None):
    """content_type: another one than the image's; "" is none at all."""
    headers = {"Content-Type": image.media_type if content_type is None
               else content_type}
    return pusher.ask("PUT", f"/v2/{NAME}/manifests/{reference}",
                      headers if headers["Content-Type"] else {}, image.data)


def refused(answer, code="MANIFEST_INVALID", status=400):
    assert (answer.status, answer.code) == (status, code), answer
    return answer.message


def stored(pusher, media_type, config=OCI_CONFIG, layer=OCI_LAYER, **more):
    """An image of these types, whose blobs are there; its document."""
    blobs = [content.blob_of(b'{"c": 1}', media_type=config),
             content.make_blob(1000, media_type=layer)]
    for blob in blobs:
        assert post_put(pusher, blob).status == 201
    return {"schemaVersion": 2, "mediaType": media_type,
            "config": blobs[0].descriptor(),
            "layers": [blobs[1].descriptor()], **more}


# ---- what it has to be ----

def test_type_of_the_head_is_that_of_the_body(registry, pusher):
    document = stored(pusher, OCI_MANIFEST)
    image = made_of(document)
    for other in (DOCKER_MANIFEST, OCI_INDEX, OTHER):
        message = refused(put(pusher, image, content_type=other))
        assert other in message and OCI_MANIFEST in message
    for wrong in ("text", "a/b/c", "application/" + "x" * 300):
        refused(put(pusher, image, content_type=wrong))
    assert registry.manifest(NAME, "1").status == 404
    # Parameters and case are no difference, and neither is silence.
    for good in (OCI_MANIFEST + "; charset=utf-8", OCI_MANIFEST.upper(), ""):
        assert put(pusher, image, content_type=good).status == 201
        answer = registry.manifest(NAME, "1")
        check_manifest(answer, image)
        assert answer.headers["Content-Type"] == OCI_MANIFEST
        assert pusher.ask("DELETE", f"/v2/{NAME}/manifests/{image.digest}"
                          ).status == 202


def test_type_that_only_the_head_tells(registry, pusher):
    """Old OCI manifests have no mediaType."""
    document = stored(pusher, OCI_MANIFEST)
    del document["mediaType"]
    image = made_of(document)
    assert put(pusher, image).status == 201
    check_manifest(registry.manifest(NAME, "1"), image)
    index = made_of({"schemaVersion": 2,
                     "manifests": [image.descriptor()]}, OCI_INDEX)
    assert put(pusher, index, "2", content_type="").status == 201
    check_manifest(registry.manifest(NAME, "2"), index)


@pytest.mark.parametrize("document", [
    {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "manifests": []},
    {"schemaVersion": 2, "mediaType": OCI_INDEX, "layers": [], "config": {}},
    {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": []},
    {"schemaVersion": 3, "mediaType": OCI_INDEX, "manifests": []},
    {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": {}},
    {"schemaVersion": 2, "mediaType": OCI_INDEX,
     "manifests": [{"digest": "sha256:0", "size": 1}]},
    {"schemaVersion": 2, "mediaType": OCI_INDEX,
     "manifests": [{"digest": content.digest_of(b""), "size": -1}]},
    {"schemaVersion": 2, "mediaType": 5, "manifests": []},
    [], b"", b"{", b'{"schemaVersion": 2} x'], ids=repr)
def test_what_is_no_manifest_is_400(registry, pusher, document):
    kind = document.get("mediaType") if isinstance(document, dict) else None
    refused(put(pusher, made_of(document, kind if isinstance(kind, str)
                                else OCI_INDEX)))
    assert registry.manifest(NAME, "1").status == 404


@pytest.mark.parametrize("kind", ["+json", "+prettyjws", None])
def test_schema_1_is_refused_and_says_why(registry, pusher, kind):
    """As Docker before 1.10 pushes it, whether its head tells or not."""
    document = {"schemaVersion": 1, "name": NAME, "tag": "1",
                "architecture": "amd64", "fsLayers": [], "history": []}
    image = made_of(document, SCHEMA1 + (kind or "+json"))
    message = refused(put(pusher, image,
                          content_type=None if kind else "application/json"))
    assert "schema 1" in message and "1.10" in message
    assert registry.manifest(NAME, "1").status == 404


def test_unknown_types_are_kept_as_they_are(registry, pusher):
    image = made_of(b'{ "b":2,\n"a" : [1,  2.50,"\\u00e9\xc3\xa9"] }\n', OTHER)
    assert put(pusher, image).status == 201
    check_manifest(registry.manifest(NAME, "1"), image)
    check_manifest(registry.manifest(NAME, image.digest), image)


# ---- what has to be there ----

FORMS = {"oci": (OCI_MANIFEST, OCI_CONFIG, OCI_LAYER),
         "docker": (DOCKER_MANIFEST, DOCKER_CONFIG, DOCKER_LAYER)}


@pytest.mark.parametrize("lacks", ["config", "layers"])
@pytest.mark.parametrize("form", FORMS)
def test_config_and_layers_have_to_be_there(registry, pusher, form, lacks):
    document = stored(pusher, *FORMS[form])
    away = content.make_blob(500, "away", media_type=FORMS[form][2])
    if lacks == "config":
        document["config"] = away.descriptor()
    else:
        document["layers"].append(away.descriptor())
    image = made_of(document, FORMS[form][0])
    for reference in ("1", image.digest):
        message = refused(put(pusher, image, reference),
                          "MANIFEST_BLOB_UNKNOWN")
        assert away.digest in message
    for reference in ("1", image.digest):
        assert registry.manifest(NAME, reference).status == 404
    assert registry.get(f"/v2/{NAME}/tags/list").json()["tags"] == []
    assert not registry.stored(image.digest)
    assert post_put(pusher, away).status == 201
    assert put(pusher, image).status == 201
    check_manifest(registry.manifest(NAME, "1"), image)


def test_blobs_of_the_withdrawn_artifact_manifest(registry, pusher):
    away = content.make_blob(500, "away")
    image = made_of({"mediaType": OCI_ARTIFACT, "artifactType": OTHER,
                     "blobs": [away.descriptor()]}, OCI_ARTIFACT)
    refused(put(pusher, image), "MANIFEST_BLOB_UNKNOWN")
    assert post_put(pusher, away).status == 201
    assert put(pusher, image).status == 201
    check_manifest(registry.manifest(NAME, "1"), image)


def lacking(name):
    """What names a blob or manifest that nobody has, and may."""
    away = content.make_blob(500, "away")
    one = away.descriptor()
    return {
        "subject": {"subject": {**one, "mediaType": OCI_MANIFEST}},
        "docker's foreign layer": {"layers": [{**one,
                                               "mediaType": FOREIGN_LAYER}]},
        "non-distributable layer": {"layers": [
            {**one, "mediaType": NONDISTRIBUTABLE + suffix}
            for suffix in ("", "+gzip", "+zstd")]},
        "urls": {"layers": [{**one, "urls": ["https://s.example.com/x"]}]},
        "urls of a config": {"config": {**one, "urls": ["https://s.example/"]}},
    }[name]


@pytest.mark.parametrize("name", [
    "subject", "docker's foreign layer", "non-distributable layer", "urls",
    "urls of a config"])
def test_what_may_be_missing(registry, pusher, name):
    image = made_of({**stored(pusher, OCI_MANIFEST), **lacking(name)})
    answer = put(pusher, image)
    assert answer.status == 201, answer
    check_manifest(registry.manifest(NAME, "1"), image)
    # It may, which gives nobody what it names.
    away = content.make_blob(500, "away")
    assert registry.blob(NAME, away.digest).status == 404


@pytest.mark.parametrize("urls", [[], {}, "", None])
def test_urls_that_lead_nowhere_excuse_nothing(pusher, urls):
    away = content.make_blob(500, "away")
    document = stored(pusher, OCI_MANIFEST)
    document["layers"].append(away.descriptor(urls=urls))
    refused(put(pusher, made_of(document)), "MANIFEST_BLOB_UNKNOWN")


def test_allow_sparse_is_for_the_names_that_it_matches(new_entrepot):
    registry = new_entrepot(None, {"default_upstream": None,
                                   "allow_sparse": ["thin/**", "one"]})
    image = content.make_image([500])
    for name, may in (("thin/app", True), ("thin/a/b", True), ("one", True),
                      ("thin", False), ("one/two", False), (NAME, False)):
        answer = Pusher(registry, name).put_manifest(image, "1")
        if may:
            assert answer.status == 201, (name, answer)
            check_manifest(registry.manifest(name, "1"), image)
        else:
            refused(answer, "MANIFEST_BLOB_UNKNOWN")


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_LIST])
def test_children_of_an_index_may_be_missing(registry, pusher, kind):
    here, away = content.make_image([500], "here"), content.make_image([], "x")
    pusher.push(here)
    for number, children in enumerate(([here, away], [away], [])):
        index = made_of({
            "schemaVersion": 2, "mediaType": kind,
            "manifests": [one.descriptor() for one in children]}, kind)
        assert put(pusher, index, f"v{number}").status == 201
        check_manifest(registry.manifest(NAME, f"v{number}"), index)
    assert registry.manifest(NAME, away.digest).status == 404
    # The rest of a partial copy comes later.
    pusher.push(away)
    check_manifest(registry.manifest(NAME, away.digest), away)


def test_children_of_an_index_may_be_blobs(registry, pusher):
    """As BuildKit exports its cache where image-manifest is false."""
    layers = [content.make_blob(700 + i, f"cache {i}") for i in range(2)]
    config = content.blob_of(b'{"layers": []}', media_type=CACHE_CONFIG)
    for blob in (*layers, config):
        assert post_put(pusher, blob).status == 201
    index = made_of({"schemaVersion": 2, "mediaType": OCI_INDEX,
                     "manifests": [b.descriptor() for b in
                                   (*layers, config)]}, OCI_INDEX)
    assert put(pusher, index, "buildcache").status == 201
    check_manifest(registry.manifest(NAME, "buildcache"), index)
    for blob in (*layers, config):
        check_blob(registry.blob(NAME, blob.digest), blob)
        # They are its, and so they stay.
        answer = pusher.ask("DELETE", f"/v2/{NAME}/blobs/{blob.digest}")
        assert answer.status == 405 and index.digest in answer.message


# ---- how large it may be ----

def padded(size):
    """An index of exactly that many bytes."""
    document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [],
                "annotations": {"pad": ""}}
    document["annotations"]["pad"] = "x" * (size - len(json.dumps(document)))
    return made_of(document, OCI_INDEX)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("option, limit", [({}, 4 * MIB),
                                           ({"cache.manifest_max": "64K"},
                                            64 * 1024)])
def test_manifests_are_limited(new_entrepot, chunked, option, limit):
    """Without a Content-Length too."""
    registry = new_entrepot(None, {"default_upstream": None, **option})
    image = padded(limit)
    assert Pusher(registry).put_manifest(image, "1", chunked=chunked
                                         ).status == 201
    check_manifest(registry.manifest(NAME, "1"), image)
    larger = padded(limit + 1)
    answer = Pusher(registry).put_manifest(larger, "2", chunked=chunked)
    refused(answer, status=413)
    for reference in ("2", larger.digest):
        assert registry.manifest(NAME, reference).status == 404


# ---- whose tag it is ----

def test_of_pushes_of_one_tag_the_last_wins_whole(registry):
    """Every answer is one of them, byte for byte, under its own digest."""
    images = [content.make_image([300 + i], f"race {i}", pad=i * 20_000)
              for i in range(5)]
    for image in images:
        Pusher(registry).push(image)
    ended = []

    def read():
        connection, found = registry.connect(), set()
        while not ended:
            answer = connection.get(f"/v2/{NAME}/manifests/moving")
            if answer.status == 404:
                assert not found
                continue
            one, = [i for i in images if i.digest == answer.digest]
            check_manifest(answer, one)
            found.add(one.digest)
        return found

    def push(image):
        pusher = Pusher(registry)
        for _ in range(20):
            assert put(pusher, image, "moving").status == 201
        return image.digest

    readers = [Background(read) for _ in range(2)]
    try:
        all_at_once(push, images)
    finally:
        ended.append(True)
    for reader in readers:
        assert reader.join()
    last = registry.manifest(NAME, "moving").digest
    assert last in {image.digest for image in images}
    # After all others, the last one is the one.
    for image in images:
        assert put(Pusher(registry), image, "moving").status == 201
        check_manifest(registry.manifest(NAME, "moving"), image)
    assert registry.get(f"/v2/{NAME}/tags/list").json()["tags"] == ["moving"]


IMMUTABLE = [{"repo": "team/**", "tags": "v*"}, {"repo": "one", "tags": "*"}]


def test_immutable_tags_are_not_overwritten(new_entrepot):
    registry = new_entrepot(None, {"default_upstream": None,
                                   "immutable_tags": IMMUTABLE})
    first, second = (content.make_image([300], f"tag {i}") for i in "12")
    for name in (NAME, "one", "other/app"):
        for image in (first, second):
            Pusher(registry, name).push(image)

    def push(image, name, reference, *tags):
        return Pusher(registry, name).put_manifest(image, reference, tags)

    for name, tag, may in ((NAME, "v1", False), (NAME, "latest", True),
                           ("one", "latest", False),
                           ("other/app", "v1", True)):
        assert push(first, name, tag).status == 201
        assert push(first, name, tag).status == 201  # the same is no change
        answer = push(second, name, tag)
        if may:
            assert answer.status == 201
        else:
            message = refused(answer, "DENIED", 403)
            assert "immutable" in message and tag in message
            assert first.digest in message
        check_manifest(registry.manifest(name, tag),
                       second if may else first)
    # One that may not move takes the others along.
    answer = push(second, NAME, None, "new", "v1", "v2")
    refused(answer, "DENIED", 403)
    assert not answer.headers.all("OCI-Tag")
    assert registry.get(f"/v2/{NAME}/tags/list").json()["tags"] == \
        ["latest", "v1"]
    check_manifest(registry.manifest(NAME, "v1"), first)
    # A reload opens it.
    registry.config.options({"immutable_tags": []})
    registry.reload()
    assert push(second, NAME, "v1").status == 201
    check_manifest(registry.manifest(NAME, "v1"), second)
