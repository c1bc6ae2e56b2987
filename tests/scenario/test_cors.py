# SPDX-License-Identifier: Apache-2.0
"""
Web pages: the requests of a registry's user interface in a browser (Joxit's
docker-registry-ui 2.x), with what the Fetch standard makes a browser check.
"""

import json

import pytest

import content
from push import Pusher
from test_permit import ask

UI = "https://ui.example"
EVIL = "https://evil.example"
ACCEPT = ("application/vnd.docker.distribution.manifest.v2+json, "
          "application/vnd.oci.image.manifest.v1+json")


@pytest.fixture
def entrepot(new_entrepot, up):
    return new_entrepot(up, {"cors.origins": [UI, "http://localhost:8000"],
                             "hosted": ["team/**"]})


class Browser:
    """Fetches as a page of `origin` may; None where it would see nothing."""

    def __init__(self, entrepot, origin=UI, credentials=False):
        self.entrepot = entrepot
        self.origin = origin
        self.credentials = credentials

    def _passes(self, answer):
        """The Fetch standard, "CORS check"."""
        allowed = answer.headers.all("Access-Control-Allow-Origin")
        if allowed != [self.origin] and (self.credentials or allowed != ["*"]):
            return False
        return not self.credentials or answer.headers.get(
            "Access-Control-Allow-Credentials") == "true"

    def preflight(self, method, path, fields):
        answer = ask(self.entrepot.connect(), "OPTIONS", path, [
            f"Origin: {self.origin}",
            f"Access-Control-Request-Method: {method}",
            *([f"Access-Control-Request-Headers: {','.join(fields)}"]
              if fields else [])])
        if not 200 <= answer.status < 300 or not self._passes(answer):
            return False
        methods = answer.headers.get("Access-Control-Allow-Methods", "")
        names = answer.headers.get("Access-Control-Allow-Headers", "")
        return method in [m.strip() for m in methods.split(",")] and \
            {f.lower() for f in fields} <= \
            {n.strip().lower() for n in names.split(",")}

    def fetch(self, method, path, fields=None):
        fields = dict(fields or {})
        unsafe = sorted(f.lower() for f in fields if f.lower() != "accept")
        if (unsafe or method not in ("GET", "HEAD", "POST")) and \
                not self.preflight(method, path, unsafe):
            return None
        answer = ask(self.entrepot.connect(), method, path, [
            f"Origin: {self.origin}",
            *(f"{k}: {v}" for k, v in fields.items())])
        return answer if self._passes(answer) else None


def exposed(answer):
    return {name.strip().lower() for name in answer.headers.get(
        "Access-Control-Expose-Headers", "").split(",")}


def test_a_page_lists_looks_and_deletes(up, entrepot, image):
    up.put_image("library/a", "1", image)
    page = Browser(entrepot)
    assert page.fetch("GET", "/v2/").status == 200
    assert page.fetch("GET", "/v2/_catalog?n=1000",
                      {"Authorization": "Basic dTpw"}) is not None
    tags = page.fetch("GET", "/v2/library/a/tags/list")
    assert tags.json()["tags"] == ["1"]
    assert "link" in exposed(tags)
    manifest = page.fetch("HEAD", "/v2/library/a/manifests/1",
                          {"Accept": ACCEPT})
    assert manifest.digest == image.digest
    assert "docker-content-digest" in exposed(manifest)
    config = page.fetch("GET", f"/v2/library/a/blobs/{image.config.digest}")
    assert config.body == image.config.data
    page.fetch("GET", "/v2/library/a/manifests/1", {"Accept": ACCEPT})
    deleted = page.fetch("DELETE", f"/v2/library/a/manifests/{image.digest}")
    assert deleted is not None and deleted.status == 202


def test_a_page_of_joxits_does_all_that_it_does(entrepot):
    """Its requests, in its order: the catalog, an image's tags, what is below
    them, and a deletion by the digest that it has read."""
    index = content.make_index([content.make_image([70], "amd64"),
                                content.make_image([80], "arm64")])
    Pusher(entrepot, "team/app").push(index, "1", "2")
    page = Browser(entrepot)
    accept = {"Accept": f"{ACCEPT}, {content.OCI_INDEX}"}
    cache = {"Cache-Control": "no-store, no-cache"}
    found = page.fetch("GET", "/v2/_catalog?n=1000", cache)
    assert found.json() == {"repositories": ["team/app"]}
    found = page.fetch("GET", "/v2/team/app/tags/list", cache)
    assert found.json() == {"name": "team/app", "tags": ["1", "2"]}
    found = page.fetch("GET", "/v2/team/app/manifests/1", {**accept, **cache})
    assert found.body == index.data
    assert found.headers["Content-Type"] == content.OCI_INDEX
    for one in json.loads(found.body)["manifests"]:
        child = page.fetch("GET", f"/v2/team/app/manifests/{one['digest']}",
                           accept)
        config = json.loads(child.body)["config"]["digest"]
        config = page.fetch("GET", f"/v2/team/app/blobs/{config}")
        assert config.json()["os"] == "linux"

    found = page.fetch("GET", "/v2/team/app/manifests/1", accept)
    assert "docker-content-digest" in exposed(found)
    path = f"/v2/team/app/manifests/{found.digest}"
    assert page.fetch("DELETE", path, cache).status == 202
    assert page.fetch("GET", "/v2/team/app/tags/list").json()["tags"] == []
    for gone in (path, "/v2/team/app/manifests/2"):
        answer = page.fetch("GET", gone, accept)
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    assert page.fetch("DELETE", path).status == 404


@pytest.mark.parametrize("method, path, status", [
    ("GET", "/v2/", 200), ("GET", "/nothing", 404),
    ("GET", "/v2/team/app/manifests/1", 404),
    ("GET", "/v2/team/app/blobs/sha256:1", 400),
    ("POST", "/v2/", 405), ("PUT", "/v2/library/a/manifests/1", 403),
    ("GET", "/healthz", 200)])
def test_every_status_is_seen(entrepot, method, path, status):
    answer = Browser(entrepot).fetch(method, path)
    assert answer is not None and answer.status == status
    assert {"docker-content-digest", "www-authenticate", "link", "location",
            "range", "oci-subject"} <= exposed(answer)
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("path", [
    "/v2/", "/v2", "/nothing", "/", "/v2/team/app/manifests/1",
    "/v2/team/app/blobs/uploads/", "/v2/team/app/blobs/uploads/x",
    "/v2/Bad/manifests/1", "/v2/library/a/blobs/sha256:1",
    "/v2/x/manifests/1?ns=evil.example"])
def test_a_preflight_is_answered_on_every_path(up, entrepot, path):
    for method in ("GET", "PUT", "PATCH", "DELETE"):
        assert Browser(entrepot).preflight(
            method, path, ["authorization", "content-type", "x-other"])
    assert not up.requests()


def test_a_preflight_needs_no_permission(new_entrepot, up):
    entrepot = new_entrepot(up, {"cors.origins": [UI], "anonymous": []})
    answer = ask(entrepot.connect(), "OPTIONS", "/v2/team/app/manifests/1", [
        f"Origin: {UI}", "Access-Control-Request-Method: DELETE",
        "Via: 1.1 proxy"], host="registry.example")
    assert answer.status == 204
    assert answer.headers["Access-Control-Allow-Origin"] == UI
    assert int(answer.headers["Access-Control-Max-Age"]) > 0


def test_other_origins_see_nothing(entrepot):
    for origin in (EVIL, "null", UI + ":8443", UI.upper(), "http://ui.example"):
        page = Browser(entrepot, origin)
        assert page.fetch("GET", "/v2/") is None
        assert not page.preflight("DELETE", "/v2/team/app/manifests/1", [])
        answer = ask(entrepot.connect(), "GET", "/v2/", [f"Origin: {origin}"])
        assert not [k for k, _ in answer.headers.pairs
                    if k.lower().startswith("access-control-")]
        assert answer.headers["Vary"] == "Origin"


def test_without_an_origin_the_reply_is_plain_but_varies(entrepot):
    answer = ask(entrepot.connect(), "GET", "/v2/")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert answer.headers["Vary"] == "Origin"


def test_without_cors_nothing_is_said(new_entrepot, up):
    entrepot = new_entrepot(up)
    answer = ask(entrepot.connect(), "GET", "/v2/", [f"Origin: {UI}"])
    assert "Vary" not in answer.headers
    assert Browser(entrepot).fetch("GET", "/v2/") is None
    assert not Browser(entrepot).preflight("GET", "/v2/", ["authorization"])


def test_credentials_are_an_option(new_entrepot, up):
    for credentials in (False, True):
        entrepot = new_entrepot(up, {"cors.origins": [UI],
                                     "cors.credentials": credentials})
        page = Browser(entrepot, credentials=True)
        assert (page.fetch("GET", "/v2/") is not None) == credentials
        assert page.preflight("DELETE", "/v2/a/manifests/1",
                              ["authorization"]) == credentials
        assert Browser(entrepot).fetch("GET", "/v2/") is not None


def test_any_origin_is_answered_with_itself(new_entrepot, up):
    entrepot = new_entrepot(up, {"cors.origins": ["*"]})
    for origin in (UI, EVIL, "null"):
        answer = ask(entrepot.connect(), "GET", "/v2/", [f"Origin: {origin}"])
        assert answer.headers["Access-Control-Allow-Origin"] == origin
    for odd in ("a b", "x" * 513):
        answer = ask(entrepot.connect(), "GET", "/v2/", [f"Origin: {odd}"])
        assert "Access-Control-Allow-Origin" not in answer.headers


def test_odd_preflights_get_no_odd_headers(entrepot):
    for fields in ("a\tb", "x" * 2000, "a;b", "{}"):
        answer = ask(entrepot.connect(), "OPTIONS", "/v2/", [
            f"Origin: {UI}", "Access-Control-Request-Method: GET",
            f"Access-Control-Request-Headers: {fields}"])
        assert answer.status == 204
        assert "Access-Control-Allow-Headers" not in answer.headers


@pytest.mark.parametrize("path, allow", [
    ("/v2/", "GET, HEAD, OPTIONS"),
    ("/v2/team/app/manifests/1", "GET, HEAD, PUT, DELETE, OPTIONS"),
    ("/v2/team/app/blobs/uploads/", "POST, OPTIONS"),
    ("*", "GET, HEAD, OPTIONS")])
def test_options_says_what_a_path_has(entrepot, path, allow):
    answer = ask(entrepot.connect(), "OPTIONS", path)
    assert (answer.status, answer.headers["Allow"]) == (204, allow)
    assert "Content-Length" not in answer.headers


def test_options_of_nothing_is_404(entrepot):
    assert ask(entrepot.connect(), "OPTIONS", "/nothing").status == 404


def test_a_private_network_may_be_asked(entrepot):
    answer = ask(entrepot.connect(), "OPTIONS", "/v2/", [
        f"Origin: {UI}", "Access-Control-Request-Method: GET",
        "Access-Control-Request-Private-Network: true"])
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"
