# SPDX-License-Identifier: Apache-2.0
"""docker search and podman search: our own names as they pull from here, and
Docker Hub's behind them where that is switched on."""

import json
import time
from urllib.parse import quote_plus

import pytest

import client
from daemon import seconds
from httpd import HttpServer, Plan
from test_attack import LOGIN, SECRET, private


def search(daemon, term=None, n=None):
    query = [] if term is None else [f"q={quote_plus(term)}"]
    query += [] if n is None else [f"n={n}"]
    return daemon.get("/v1/search?" + "&".join(query),
                      {"X-Docker-Token": "true"})


def names(answer):
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json()
    assert found["num_results"] == len(found["results"])
    return [one["name"] for one in found["results"]]


def push(daemon, image, name, tag="1"):
    for blob in image.blobs:
        assert daemon.request(
            "POST", f"/v2/{name}/blobs/uploads/?digest={blob.digest}", None,
            blob.data).status == 201
    assert daemon.request("PUT", f"/v2/{name}/manifests/{tag}",
                          {"Content-Type": image.media_type},
                          image.data).status == 201


class Hub:
    """Docker Hub's search, scripted."""

    def __init__(self):
        self.requests = []
        self.results = []
        self.plan = Plan()
        self.body = None
        self.server = HttpServer("hub", self._answer)

    def _answer(self, request, connection):
        self.requests.append(request)
        if self.plan.delay:
            connection.wait(lambda: False, self.plan.delay)
        body = self.body if self.body is not None else json.dumps(
            {"num_results": len(self.results),
             "results": self.results}).encode()
        connection.reply(request, self.plan.status or 200, {}, body,
                         self.plan)

    @property
    def options(self):
        return {"search.hub": True, "search.timeout": seconds(0.5),
                "search.url": self.server.url + "/v1/search"}


@pytest.fixture
def hub():
    made = Hub()
    made.results = [
        {"name": "alpine", "description": "A \"minimal\" image \u00e9",
         "star_count": 9000, "is_official": True, "is_automated": False,
         "is_trusted": False},
        {"name": "alpine/git", "description": None, "star_count": 2}]
    yield made
    made.server.close()


@pytest.fixture
def stocked(new_entrepot, up, image):
    """A daemon that hosts two repositories and holds two mirrored ones."""
    def make(options=None):
        daemon = new_entrepot(up, {"hosted": ["team/**"], **(options or {})})
        up.put_image("library/alpine", "1", image)
        up.put_image("me/tool", "1", image)
        for name in ("library/alpine", "me/tool"):
            daemon.learn(name, "1", image)
        daemon.wait_committed()
        push(daemon, image, "team/alpine-tools")
        push(daemon, image, "team/deep/alp")
        return daemon
    return make


def test_ping_says_that_it_stands_alone(entrepot):
    answer = entrepot.get("/v1/_ping")
    assert answer.status == 200
    assert answer.headers["X-Docker-Registry-Standalone"] == "true"
    assert answer.json() == {"standalone": True}


def test_names_as_they_pull_from_here(stocked, image):
    daemon = stocked()
    answer = search(daemon, "alp")
    assert answer.json() == {
        "query": "alp", "num_results": 3,
        "results": [{"name": name, "description": "", "star_count": 0,
                     "is_official": False, "is_automated": False}
                    for name in ("team/deep/alp", "docker.io/library/alpine",
                                 "team/alpine-tools")]}
    for name in names(answer):
        assert daemon.manifest(name, "1").body == image.data
    assert names(search(daemon, "ALPINE")) == \
        ["docker.io/library/alpine", "team/alpine-tools"]
    assert names(search(daemon, "tools team")) == ["team/alpine-tools"]
    assert names(search(daemon, "nowhere")) == []


def test_an_empty_term_finds_the_first_names(stocked):
    daemon = stocked()
    everything = ["docker.io/library/alpine", "docker.io/me/tool",
                  "team/alpine-tools", "team/deep/alp"]
    assert names(search(daemon, "")) == everything
    assert names(search(daemon)) == everything
    assert names(search(daemon, "", 2)) == everything[:2]


def test_no_more_than_asked_for(new_entrepot, image):
    daemon = new_entrepot(None, {"default_upstream": None})
    push(daemon, image, "team/first")
    config = image.config.digest
    for i in range(120):
        assert daemon.request(
            "POST", f"/v2/team/a{i}/blobs/uploads/?mount={config}"
            "&from=team/first", None, b"").status == 201
    assert len(names(search(daemon, "team"))) == 25
    assert len(names(search(daemon, "team", 7))) == 7
    assert len(names(search(daemon, "team", 100))) == 100
    assert len(names(search(daemon, "team", 5000))) == 100
    assert len(names(search(daemon, "team", 10 ** 30))) == 100
    assert names(search(daemon, "first", 1)) == ["team/first"]
    for n in ("0", "-1", "x", "1&n=2", ""):
        answer = search(daemon, "team", n)
        assert answer.status == 400, (n, answer)
    assert daemon.get("/v1/search?q=%zz").status == 400
    assert daemon.get(f"/v1/search?q={'a' * 256}").status == 400
    assert daemon.get(f"/v1/search?q={'a' * 255}").status == 200
    assert daemon.request("POST", "/v1/search", None, b"").status == 405


@pytest.mark.parametrize("private_content", ["deny", "share"])
def test_private_names_are_shown_where_they_are_shared(
        new_entrepot, up, image, private_content):
    """By a search and by the catalog; held they are in any case."""
    daemon = new_entrepot(up, private=private_content, **LOGIN)
    for name in ("library/alpine", SECRET):
        up.put_image(name, "1", image)
    private(up, SECRET)
    assert daemon.manifest("library/alpine", "1").status == 200
    may = private_content == "share"
    assert daemon.manifest(SECRET, "1").status == (200 if may else 403)
    daemon.wait_committed()
    assert f"docker.io/{SECRET}  mirror  tags 1  manifests 1" in \
        daemon.command("ls").stdout
    secret = [f"docker.io/{SECRET}"] if may else []
    everything = [*secret, "docker.io/library/alpine"]
    assert names(search(daemon, "")) == everything
    assert names(search(daemon, "secret")) == secret
    assert daemon.get("/v2/_catalog").json() == {"repositories": everything}


def test_nobody_is_asked_by_default(stocked, hub, up):
    daemon = stocked({"search.url": hub.server.url + "/v1/search"})
    before = len(up.requests())
    assert names(search(daemon, "alpine"))
    assert not hub.requests and len(up.requests()) == before


# ---- Docker Hub ----

def test_the_hubs_results_follow_ours(stocked, hub):
    daemon = stocked(hub.options)
    answer = search(daemon, "alp ine", 5)
    assert names(answer) == [
        "docker.io/library/alpine", "team/alpine-tools",
        "docker.io/alpine/git"]
    answer = search(daemon, "git")
    assert answer.json()["results"] == [
        {"name": "docker.io/library/alpine",
         "description": "A \"minimal\" image \u00e9", "star_count": 9000,
         "is_official": True, "is_automated": False},
        {"name": "docker.io/alpine/git", "description": "", "star_count": 2,
         "is_official": False, "is_automated": False}]
    first, second = hub.requests
    assert first.method == "GET" and first.path == "/v1/search"
    assert first.query == {"q": ["alp ine"], "n": ["5"]}
    assert second.query == {"q": ["git"], "n": ["25"]}
    assert "authorization" not in first.headers


def test_the_hub_is_asked_only_for_what_is_missing(stocked, hub):
    daemon = stocked(hub.options)
    assert len(names(search(daemon, "alpine", 2))) == 2
    assert len(names(search(daemon, ""))) == 4
    assert not hub.requests
    assert len(names(search(daemon, "alpine", 3))) == 3
    assert len(hub.requests) == 1


@pytest.mark.parametrize("plan, body", [
    (Plan(status=500), None), (Plan(status=429), None),
    (Plan(status=302, headers={"Location": "/v1/search"}), None),
    (Plan(), b"{"), (Plan(), b"[]"), (Plan(delay=20), None),
    (Plan(stop_after=10, stop_how="truncate"), None),
    (Plan(stop_after=-1, stop_how="reset"), None), (None, None)])
def test_the_hubs_failure_is_not_ours(stocked, hub, plan, body):
    daemon = stocked(hub.options)
    if plan is None:
        hub.server.close()
    else:
        hub.plan, hub.body = plan, body
    started = time.monotonic()
    assert names(search(daemon, "alpine")) == \
        ["docker.io/library/alpine", "team/alpine-tools"]
    assert time.monotonic() - started < 3 * client.SLOW
    assert len(hub.requests) == (plan is not None)


def test_who_leaves_or_stops_the_daemon_meanwhile(stocked, hub):
    daemon = stocked({**hub.options, "search.timeout": "1h",
                      "server.deadlines.drain": seconds(0.5)})
    hub.plan = Plan(delay=30)
    connection = daemon.connect()
    connection.send_head("GET", "/v1/search?q=alpine")
    left = daemon.connect()
    left.send_head("GET", "/v1/search?q=alpine")
    while len(hub.requests) < 2:
        time.sleep(0.01)
    left.close()
    connection.close()
    assert daemon.get("/v2/").status == 200
    assert daemon.stop() == 0
