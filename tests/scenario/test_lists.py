# SPDX-License-Identifier: Apache-2.0
"""Pages of what is hosted: tags, the catalog, referrers; and their links."""

import json
import re

import pytest

import content
import datasets
from push import Pusher

MIB = content.MIB


@pytest.fixture
def registry(new_entrepot):
    return new_entrepot(None, {"default_upstream": None})


def follow(registry, path):
    """All pages from `path` on: (JSON, bytes, headers)."""
    pages = []
    while path:
        answer = registry.get(path)
        assert answer.status == 200, answer
        pages.append((json.loads(answer.body), len(answer.body),
                      answer.headers))
        assert len(pages) < 100
        link = answer.headers.get("Link")
        if not link:
            return pages
        match = re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', link)
        assert match, link
        path = match.group(1)
    return pages


@pytest.fixture
def many_tags(registry):
    pusher = Pusher(registry)
    image = content.make_image([1000])
    tags = [f"v{i}" for i in range(25)] + ["latest", "A", "_z"]
    pusher.push(image, *tags)
    return sorted(tags, key=str.encode)


@pytest.mark.parametrize("n", [1, 7, 28, 100])
def test_tags_in_pages_of(registry, many_tags, n):
    pages = follow(registry, f"/v2/team/app/tags/list?n={n}")
    assert [tag for page, _, _ in pages for tag in page["tags"]] == many_tags
    assert all(len(page["tags"]) == n for page, _, _ in pages[:-1])
    assert all(page["name"] == "team/app" for page, _, _ in pages)
    assert len(pages) == -(-len(many_tags) // n)


def test_no_tags_are_asked_for(registry, many_tags):
    answer = registry.get("/v2/team/app/tags/list?n=0")
    assert json.loads(answer.body)["tags"] == []
    assert "Link" not in answer.headers
    for bad in ("n=-1", "n=x", "n=1&n=2"):
        answer = registry.get(f"/v2/team/app/tags/list?{bad}")
        assert (answer.status, answer.code) == \
            (400, "PAGINATION_NUMBER_INVALID"), bad


def test_a_page_begins_behind_what_does_not_exist(registry, many_tags):
    answer = registry.get("/v2/team/app/tags/list?n=3&last=v15zzz")
    expected = [t for t in many_tags if t.encode() > b"v15zzz"][:3]
    assert json.loads(answer.body)["tags"] == expected


def test_catalog_of_both_kinds_in_pages(up, new_entrepot, image):
    """Hosted names, and public mirrored ones as they pull from here."""
    entrepot = new_entrepot(up, {"hosted": ["team/**", "zoo/**"]})
    for name in ("library/alpine", "org/app"):
        up.put_image(name, "1", image)
        assert entrepot.manifest(name, "1").status == 200
    hosted = [f"team/app{i}" for i in range(8)] + ["zoo/a"]
    for name in hosted:
        Pusher(entrepot, name).push(content.make_image([100], name), "1")
    Pusher(entrepot, "team/empty").begin()
    entrepot.wait_committed()
    expected = sorted(hosted + ["docker.io/library/alpine",
                                "docker.io/org/app"])
    for n in (1, 3, 11, 500):
        pages = follow(entrepot, f"/v2/_catalog?n={n}")
        assert [r for page, _, _ in pages for r in page["repositories"]] == \
            expected, n
    assert follow(entrepot, "/v2/_catalog?last=docker.io/org/app")[0][0][
        "repositories"] == expected[2:]


@pytest.fixture
def many_referrers(registry):
    """More text than one answer may have; every third is a signature."""
    pusher = Pusher(registry)
    subject = content.make_image([1000], "subject")
    pusher.push(subject, "1")
    made = {}
    for i in range(30):
        kind = "application/x-sig" if i % 3 == 0 else "application/x-sbom"
        one = content.make_image([10], f"referrer {i}", subject=subject,
                                 artifact_type=kind,
                                 annotations={"note": "x" * 300_000})
        pusher.push(one)
        made[one.digest] = kind
    return subject, made


@pytest.mark.parametrize("kind", [None, "application/x-sig",
                                  "application/x-none"])
def test_long_referrers_go_on_by_link(registry, many_referrers, kind):
    subject, made = many_referrers
    query = f"?artifactType={kind}" if kind else ""
    pages = follow(registry,
                   f"/v2/team/app/referrers/{subject.digest}{query}")
    found = [m["digest"] for page, _, _ in pages for m in page["manifests"]]
    assert sorted(found) == sorted(d for d, k in made.items()
                                   if kind in (None, k))
    assert len(found) == len(set(found))
    for page, size, headers in pages:
        assert size < 4 * MIB
        assert page["schemaVersion"] == 2
        assert ("OCI-Filters-Applied" in headers) == bool(kind)
        # Filtered before it is paged.
        assert page["manifests"] or kind == "application/x-none"
    assert len(pages) == {None: 3, "application/x-sig": 1,
                          "application/x-none": 1}[kind]


# ---- referrers of every kind ----

def names_of(registry, subject, query="", name="team/app"):
    answer = registry.get(f"/v2/{name}/referrers/{subject.digest}{query}")
    assert answer.status == 200, answer
    return [one["digest"] for one in answer.json()["manifests"]]


def test_types_are_found_however_they_are_escaped(registry):
    """A "+" that is not is one all the same."""
    pusher = Pusher(registry)
    subject = content.make_image([100], "subject")
    other = content.make_image([100], "other", subject=subject,
                               artifact_type="application/x-other")
    one = content.make_image([100], "one", subject=subject,
                             artifact_type="application/spdx+json")
    for image in (subject, other, one):
        pusher.push(image)
    for text in ("application/spdx+json", "application%2Fspdx%2Bjson",
                 "application/spdx%2bjson"):
        assert names_of(registry, subject, f"?artifactType={text}") == \
            [one.digest], text
    assert names_of(registry, subject, "?artifactType=application/spdx") == []
    assert sorted(names_of(registry, subject, "?artifactType=")) == \
        sorted([one.digest, other.digest])


def test_fallback_tags_are_merged(registry):
    """
    As clients leave them that do not know the API: what is linked here and
    names this subject, once; of the rest nothing.
    """
    pusher = Pusher(registry)
    subject = content.make_image([100], "subject")
    stranger = content.make_image([100], "stranger")
    made = [content.make_image([10], f"about {i}", subject=subject,
                               artifact_type=datasets.EXAMPLE)
            for i in range(3)]
    others = content.make_image([10], "others", subject=stranger)
    away = content.make_image([10], "away", subject=subject)
    for image in (subject, stranger, made[0], others):
        pusher.push(image)
    listed = [*made[:2], others, away, stranger]
    index = content.make_index(listed)
    tag = subject.digest.replace(":", "-")
    assert pusher.put_manifest(index, tag).status == 201
    assert names_of(registry, subject) == [made[0].digest]
    # It comes behind the tag that names it, or with no tag at all.
    for image in made[1:]:
        pusher.push(image)
    assert sorted(names_of(registry, subject)) == \
        sorted(one.digest for one in made)
    assert sorted(names_of(registry, subject,
                           f"?artifactType={datasets.EXAMPLE}")) == \
        sorted(one.digest for one in made)
    # The tag itself is an image's as any other.
    answer = registry.manifest("team/app", tag)
    assert answer.body == index.data
    assert registry.request("DELETE", f"/v2/team/app/manifests/{index.digest}"
                            ).status == 202
    assert sorted(names_of(registry, subject)) == \
        sorted(one.digest for one in made)


def test_referrers_of_what_was_never_seen(registry):
    Pusher(registry).push(content.make_image([100]), "1")
    nothing = content.make_image([100], "nothing")
    for name in ("team/app", "team/never", "other"):
        for query in ("", "?artifactType=application/x"):
            assert names_of(registry, nothing, query, name) == []
    answer = registry.get("/v2/team/app/referrers/sha256:0")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")


# ---- extensions ----

@pytest.mark.parametrize("path", ["_oci/ext/discover",
                                  "team/app/_oci/ext/discover",
                                  "team/never/_oci/ext/discover"])
def test_extensions_are_discovered(registry, path):
    """We have none; 404 would say that they cannot be asked for."""
    Pusher(registry).push(content.make_image([100]), "1")
    answer = registry.get(f"/v2/{path}")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == {"extensions": []}
    assert registry.head(f"/v2/{path}").status == 200


def test_every_answer_names_the_api(registry):
    """Docker looks for it in the first one."""
    for path, status in (("/v2/", 200), ("/v2", 200), ("/v2/_catalog", 200),
                         ("/v2/team/app/manifests/1", 404), ("/v2/x", 404),
                         ("/v2/team/app/blobs/sha256:0", 400)):
        for method in ("GET", "HEAD"):
            answer = registry.request(method, path)
            assert answer.status == status, path
            assert answer.headers["Docker-Distribution-Api-Version"] == \
                "registry/2.0"


@pytest.mark.parametrize("bad", ["n=-1", "n=x", "n=1&n=2", "n="])
def test_catalog_pages_of_no_number(registry, bad):
    Pusher(registry).push(content.make_image([100]), "1")
    answer = registry.get(f"/v2/_catalog?{bad}")
    assert (answer.status, answer.code) == (400, "PAGINATION_NUMBER_INVALID")
    assert registry.get("/v2/_catalog?n=0").json() == {"repositories": []}
    assert registry.get(f"/v2/_catalog?n={10 ** 30}").json() == \
        {"repositories": ["team/app"]}
