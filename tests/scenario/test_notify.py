# SPDX-License-Identifier: Apache-2.0
"""
Webhooks: a scripted receiver of the events of changes and of pulls, in the
envelope of Docker's registry, and what becomes of them when it is down, slow,
wrong, or when the daemon is killed.
"""

import json
import re
import time

import pytest

import client
import content
import layouts
from daemon import seconds, wait_until
from httpd import HttpServer, Plan

MEDIA_TYPE = "application/vnd.docker.distribution.events.v1+json"
OCTETS = "application/octet-stream"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}"
                  r"-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z")
NAME = "team/app"


class Receiver:
    """Takes what is posted; `answers` are statuses or Plans for the next
    ones, then 200 for all others.  What `refuses` says of the events it was
    posted is the status for them, before that."""

    def __init__(self, tls=None):
        self.requests = []
        self.taken = []
        self.answers = []
        self.refuses = lambda events: None
        self.server = HttpServer("receiver", self._answer, tls=tls)

    def _answer(self, request, connection):
        self.requests.append(request)
        plan = self.refuses(json.loads(request.body)["events"])
        if plan is None:
            plan = self.answers.pop(0) if self.answers else 200
        if isinstance(plan, int):
            plan = Plan(status=plan)
        if plan.delay:
            connection.wait(lambda: False, plan.delay)
        status = plan.status or 200
        if status == 200:
            self.taken += json.loads(request.body)["events"]
        connection.reply(request, status, {}, b"", plan)

    @property
    def url(self):
        return self.server.url

    def actions(self):
        return [event["action"] for event in self.taken]

    def wait(self, count, timeout=5):
        """Until it has taken that many events; all of them."""
        wait_until(lambda: len(self.taken) >= count, timeout,
                   lambda: f"{len(self.taken)} events, not {count}")
        return self.taken[:]


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.server.close()


@pytest.fixture
def registry(new_entrepot, receiver, up):
    """registry(option=value, ..., options={...}): options of the endpoint."""
    def make(start=True, options=None, **endpoint):
        hook = {"name": "test", "url": receiver.url + "/hook?token=s3cret",
                "headers": {"Authorization": "Bearer s3cret"},
                "timeout": seconds(3), "retry_min": "20ms",
                "retry_max": "100ms", **endpoint}
        return new_entrepot(up, {"notifications.endpoints": [hook],
                                 "hosted": ["team/**"], **(options or {})},
                            start=start)
    return make


def push_blob(daemon, blob, name=NAME, headers=None):
    answer = daemon.request(
        "POST", f"/v2/{name}/blobs/uploads/?digest={blob.digest}", headers,
        blob.data)
    assert answer.status == 201, answer


def put_manifest(daemon, image, reference, name=NAME):
    answer = daemon.request("PUT", f"/v2/{name}/manifests/{reference}",
                            {"Content-Type": image.media_type}, image.data)
    assert answer.status == 201, answer


def push(daemon, image, tag, name=NAME):
    for blob in image.blobs:
        push_blob(daemon, blob, name)
    put_manifest(daemon, image, tag, name)


def tag_all(daemon, image, tags):
    """Pushes of one manifest by these tags, after its blobs."""
    for tag in tags:
        put_manifest(daemon, image, tag)


def tags_of(events):
    return [event["target"]["tag"] for event in events
            if "tag" in event["target"]]


# ---- what is told ----

def test_a_push_is_told_field_by_field(registry, receiver, image):
    daemon = registry()
    push_blob(daemon, image.config, headers={"User-Agent": "test/\"1\""})
    event, = receiver.wait(1)
    request, = receiver.requests
    assert request.method == "POST" and request.target == "/hook?token=s3cret"
    assert request.headers["content-type"] == MEDIA_TYPE
    assert request.headers["authorization"] == "Bearer s3cret"
    assert UUID.fullmatch(event.pop("id"))
    assert TIME.fullmatch(event.pop("timestamp"))
    assert event["request"].pop("id")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", event["request"].pop("addr"))
    assert UUID.fullmatch(event["source"].pop("instanceID"))
    assert re.fullmatch(r"[^:]+:\d+", event["source"].pop("addr"))
    host = f"127.0.0.1:{daemon.port}"
    assert event == {
        "action": "push",
        "target": {
            "mediaType": OCTETS, "digest": image.config.digest,
            "size": image.config.size, "length": image.config.size,
            "repository": NAME,
            "url": f"http://{host}/v2/{NAME}/blobs/{image.config.digest}"},
        "request": {"host": host, "method": "POST", "useragent": 'test/"1"'},
        "actor": {}, "source": {}}


def test_pushes_by_tag_by_digest_and_by_many_tags(registry, receiver, image):
    daemon = registry()
    push(daemon, image, "v1")
    put_manifest(daemon, image, image.digest)
    put_manifest(daemon, image, f"{image.digest}?tag=a&tag=b")
    blobs = len(image.blobs)
    events = receiver.wait(blobs + 4)
    assert [e["target"]["digest"] for e in events[:blobs]] == \
        [b.digest for b in image.blobs]
    for event in events[blobs:]:
        target = event["target"]
        assert event["action"] == "push"
        assert target["mediaType"] == image.media_type
        assert target["digest"] == image.digest
        assert target["size"] == target["length"] == image.size
        assert client.request(daemon.address, "GET",
                              target["url"].partition(str(daemon.port))[2]
                              ).body == image.data
    assert [e["target"].get("tag") for e in events[blobs:]] == \
        ["v1", None, "a", "b"]
    assert len({e["id"] for e in events}) == len(events)
    assert len({e["source"]["instanceID"] for e in events}) == 1


def test_mounts_and_deletions(registry, receiver, image):
    daemon = registry()
    push(daemon, image, "v1")
    layer = image.layers[0]
    for query in (f"mount={layer.digest}&from={NAME}",
                  f"mount={layer.digest}"):
        answer = daemon.request("POST",
                                f"/v2/team/other/blobs/uploads/?{query}",
                                body=b"")
        assert answer.status == 201, answer
    for path in ("manifests/v1", f"manifests/{image.digest}",
                 f"blobs/{layer.digest}"):
        assert daemon.request("DELETE", f"/v2/{NAME}/{path}").status == 202
    before = len(image.blobs) + 1
    mounted, anywhere, tag, manifest, blob = receiver.wait(before + 5)[before:]
    assert mounted["action"] == anywhere["action"] == "mount"
    target = mounted["target"]
    assert target["repository"] == "team/other"
    assert target["fromRepository"] == NAME
    assert target["digest"] == layer.digest
    assert target["size"] == target["length"] == layer.size
    assert target["url"].endswith(f"/v2/team/other/blobs/{layer.digest}")
    assert "fromRepository" not in anywhere["target"]
    assert {e["action"] for e in (tag, manifest, blob)} == {"delete"}
    assert tag["target"] == {"repository": NAME, "tag": "v1"}
    assert manifest["target"] == {"repository": NAME, "digest": image.digest}
    assert blob["target"] == {"repository": NAME, "digest": layer.digest}
    assert tag["request"]["method"] == "DELETE"


def test_a_purge_is_a_deletion(registry, receiver, up, image):
    """By the name that pulls from here, whichever was used."""
    up.put_image("library/app", "1", image)
    daemon = registry()
    docker = client.Docker(daemon.address)
    docker.pull("library/app", "1", image)
    for each in image.blobs:
        daemon.wait_stored(each)
    layer = image.layers[0]
    paths = ("app/manifests/1", f"docker.io/library/app/blobs/{layer.digest}",
             f"library/app/manifests/{image.digest}")
    for status in (202, 404):  # what is not held any more is no deletion
        for path in paths:
            answer = daemon.request("DELETE", f"/v2/{path}")
            assert answer.status == status, answer
    push_blob(daemon, image.config)
    tag, blob, manifest, push = receiver.wait(4)
    assert [e["action"] for e in (tag, blob, manifest, push)] == \
        ["delete"] * 3 + ["push"]
    name = "docker.io/library/app"
    assert tag["target"] == {"repository": name, "tag": "1"}
    assert blob["target"] == {"repository": name, "digest": layer.digest}
    assert manifest["target"] == {"repository": name, "digest": image.digest}
    assert tag["request"]["method"] == "DELETE"
    # It is fetched again, of which nobody is told.
    docker.pull("library/app", "1", image)
    assert len(receiver.taken) == 4


def test_an_import_is_a_push(registry, receiver, tmp_path, image):
    """Of what was not here; as a mirror's, nobody is told."""
    old = layouts.RegistryFolder(tmp_path / "old")
    other = content.make_image([50, 60], "other")
    old.image(NAME, "v1", image)
    old.image(NAME, "v2", other)
    old.image(NAME, "v3", other)
    daemon = registry()

    mirrored = layouts.RegistryFolder(tmp_path / "mirrored")
    mirrored.image("library/app", "1", image)

    def take(store, *more):
        done = daemon.command("import", "registry-v2", str(store.folder),
                              *more)
        assert done.returncode == 0, (done.stdout, done.stderr)

    push_blob(daemon, image.layers[0], "team/elsewhere")
    take(old)
    take(old)
    take(mirrored, "--as-mirror", "docker.io")
    events = receiver.wait(4 + len(image.blobs) + len(other.blobs))[1:]
    push_blob(daemon, content.make_blob(10, "last"), "team/last")
    assert receiver.wait(len(events) + 2)[-1]["target"]["repository"] == \
        "team/last"
    assert receiver.actions() == ["push"] * (len(events) + 2)
    for event in events:
        assert event["target"]["repository"] == NAME
    targets = [event["target"] for event in events]
    assert sorted(t["digest"] for t in targets if "tag" not in t) == \
        sorted(b.digest for b in image.blobs + other.blobs)
    assert sorted((t["tag"], t["digest"], t["size"], t["mediaType"])
                  for t in targets if "tag" in t) == sorted(
        (tag, one.digest, one.size, one.media_type) for tag, one in
        (("v1", image), ("v2", other), ("v3", other)))
    # After what it names, and by nobody's request.
    last = [t["digest"] for t in targets].index(image.digest)
    assert {b.digest for b in image.blobs} <= \
        {t["digest"] for t in targets[:last]}
    assert events[-1]["request"] == {"method": "import"}
    assert events[-1]["source"]["instanceID"]


def test_what_did_not_happen_is_not_told(registry, receiver, image):
    daemon = registry()
    answer = daemon.request("PUT", f"/v2/{NAME}/manifests/v1",
                            {"Content-Type": image.media_type}, image.data)
    assert answer.status == 400
    assert daemon.request("DELETE", f"/v2/{NAME}/manifests/v1").status == 404
    answer = daemon.request(
        "POST", f"/v2/{NAME}/blobs/uploads/?mount={image.config.digest}",
        body=b"")
    assert answer.status == 202
    assert daemon.request("DELETE", answer.headers["Location"]).status == 204
    push_blob(daemon, image.config)
    event, = receiver.wait(1)
    assert event["action"] == "push"


def test_an_endpoint_chooses_actions_and_repositories(
        new_entrepot, receiver, image):
    other = Receiver()
    daemon = new_entrepot(None, {
        "default_upstream": None,
        "notifications.endpoints": [
            {"name": "a", "url": receiver.url, "actions": ["delete"]},
            {"name": "b", "url": other.url, "repositories": ["team/*"],
             "headers": {"Content-Type": "application/json"}}]})
    try:
        push_blob(daemon, image.config, "mine/app")
        push_blob(daemon, image.config, NAME)
        for name in ("mine/app", NAME):
            assert daemon.request(
                "DELETE",
                f"/v2/{name}/blobs/{image.config.digest}").status == 202
        assert [(e["action"], e["target"]["repository"])
                for e in receiver.wait(2)] == \
            [("delete", "mine/app"), ("delete", NAME)]
        assert [(e["action"], e["target"]["repository"])
                for e in other.wait(2)] == [("push", NAME), ("delete", NAME)]
        assert other.requests[0].headers["content-type"] == "application/json"
        wait_until(lambda: daemon.metrics()[
            "entrepot_notifications_waiting"] == 0)
    finally:
        other.server.close()


def test_pulls_are_told_where_they_are_wanted(registry, receiver, up, image):
    up.put_image("library/app", "1", image)
    daemon = registry(actions=["pull"])
    push(daemon, image, "v1")
    daemon.learn(NAME, "v1", image)
    client.check_blob(daemon.blob(NAME, image.layers[0].digest),
                      image.layers[0])
    daemon.learn("library/app", "1", image)
    daemon.head(f"/v2/{NAME}/manifests/v1")
    events = receiver.wait(3)
    assert receiver.actions() == ["pull"] * 3
    manifest, layer, mirrored = [e["target"] for e in events]
    assert manifest["digest"] == image.digest and manifest["tag"] == "v1"
    assert manifest["mediaType"] == image.media_type
    assert manifest["size"] == image.size
    assert layer["digest"] == image.layers[0].digest
    assert layer["url"].endswith(f"/v2/{NAME}/blobs/{image.layers[0].digest}")
    assert mirrored["repository"] == "docker.io/library/app"
    assert events[0]["request"]["method"] == "GET"


def test_pulls_are_not_told_by_default(registry, receiver, image):
    daemon = registry()
    push(daemon, image, "v1")
    daemon.learn(NAME, "v1", image)
    put_manifest(daemon, image, "v2")
    assert receiver.wait(len(image.blobs) + 2)[-1]["target"]["tag"] == "v2"
    assert "pull" not in receiver.actions()


# ---- receivers in trouble ----

@pytest.mark.parametrize("answer, reason", [
    (500, "it answered 500"), (404, "it answered 404"),
    (401, "it answered 401"), (403, "it answered 403"),
    (408, "it answered 408"), (429, "it answered 429"),
    (Plan(status=307, headers={"Location": "/elsewhere"}),
     "it answered 307; redirects are not followed"),
    (Plan(status=500, stop_after=-1, stop_how="reset"), "")])
def test_what_fails_is_sent_again_in_order(registry, receiver, image, answer,
                                           reason):
    daemon = registry()
    receiver.answers = [answer] * 3
    push(daemon, image, "v0")
    tags = [f"v{i}" for i in range(1, 20)]
    tag_all(daemon, image, tags)
    events = receiver.wait(len(image.blobs) + 20)
    assert tags_of(events) == ["v0", *tags]
    assert len({e["id"] for e in events}) == len(events)
    assert all(r.path == "/hook" for r in receiver.requests)
    daemon.wait_log("webhook test: it takes events again")
    log = daemon.log()
    assert log.count("its events wait and are sent again") == 1
    assert f"webhook test: {reason}" in log
    assert "s3cret" not in log
    assert daemon.metrics()["entrepot_notifications_failed_total"] == 3
    wait_until(lambda: daemon.metrics()["entrepot_notifications_waiting"] == 0)


def with_tag(events, *tags):
    """Is one of these among them?"""
    return any(tag in tags for tag in tags_of(events))


@pytest.mark.parametrize("status", [400, 410, 413, 422])
def test_what_is_refused_is_dropped_alone(registry, receiver, image, status):
    daemon = registry()
    receiver.server.close()
    push(daemon, image, "v0")
    tags = [f"v{i}" for i in range(1, 40)]
    tag_all(daemon, image, tags)
    receiver.refuses = lambda events: \
        status if with_tag(events, "v7", "v30") else None
    receiver.server.open()
    wait_until(lambda: daemon.metrics()["entrepot_notifications_waiting"] == 0)
    assert tags_of(receiver.taken) == \
        ["v0", *(tag for tag in tags if tag not in ("v7", "v30"))]
    # It is halved to find them, and grows again.
    assert len(receiver.requests) < 30
    assert daemon.metrics()["entrepot_notifications_refused_total"] == 2
    log = daemon.whole_log()
    assert log.count(f"webhook test: it answered {status} to an event, "
                     "which is dropped") == 1
    # It says so again when all had been well meanwhile: twenty times, since
    # each event is waited for.
    for i in range(20):
        tag_all(daemon, image, [f"w{i}"])
        receiver.wait(len(image.blobs) + 38 + i + 1)
    receiver.refuses = lambda events: status if with_tag(events, "x") else None
    tag_all(daemon, image, ["x", "y"])
    assert tags_of(receiver.wait(len(image.blobs) + 38 + 21))[-1] == "y"
    assert daemon.whole_log().count("to an event, which is dropped") == 2
    assert daemon.metrics()["entrepot_notifications_refused_total"] == 3


def test_one_that_refuses_all_holds_no_event(registry, receiver, image):
    daemon = registry(actions=["push", "pull"])
    receiver.refuses = lambda events: 400
    push(daemon, image, "v0")
    tag_all(daemon, image, ["v1", "v2"])
    daemon.learn(NAME, "v1", image)
    refused = len(image.blobs) + 4
    wait_until(lambda: daemon.metrics()[
        "entrepot_notifications_refused_total"] == refused)
    wait_until(lambda: daemon.metrics()["entrepot_notifications_waiting"] == 0)
    assert receiver.taken == []
    assert daemon.whole_log().count("to an event, which is dropped") == 1
    receiver.refuses = lambda events: None
    tag_all(daemon, image, ["v3"])
    assert tags_of(receiver.wait(1)) == ["v3"]


@pytest.mark.parametrize("option", ["ca", "insecure"])
def test_a_receiver_with_a_certificate_of_a_private_authority(
        registry, image, authority, option):
    receiver = Receiver(tls=authority.server_context())
    try:
        daemon = registry(url=receiver.url)
        push_blob(daemon, image.config)
        daemon.wait_log("webhook test: ")
        assert receiver.requests == []
        hook = daemon.config.tree["notifications"]["endpoints"][0]
        hook[option] = str(authority.cert) if option == "ca" else True
        daemon.reload()
        event, = receiver.wait(1)
        assert event["target"]["digest"] == image.config.digest
        warned = "notifications.endpoints[0].insecure: its certificate " \
            "is not checked" in daemon.log()
        assert warned == (option == "insecure")
    finally:
        receiver.server.close()


def test_the_ca_of_one_receiver_is_not_that_of_another(
        new_entrepot, receiver, image, authority):
    trusted = Receiver(tls=authority.server_context())
    other = Receiver(tls=authority.server_context(("127.0.0.1", "other")))
    daemon = new_entrepot(None, {
        "default_upstream": None,
        "notifications.endpoints": [
            {"name": "a", "url": trusted.url, "ca": str(authority.cert)},
            {"name": "b", "url": other.url}]})
    try:
        push_blob(daemon, image.config)
        trusted.wait(1)
        daemon.wait_log("webhook b: ")
        assert other.requests == []
    finally:
        trusted.server.close()
        other.server.close()


def test_a_slow_receiver_delays_no_request(registry, receiver, image):
    daemon = registry(timeout="200ms")
    receiver.answers = [Plan(delay=30)]
    push(daemon, image, "v1")
    wait_until(lambda: receiver.requests)
    started = time.monotonic()
    tag_all(daemon, image, ["v2", "v3"])
    assert daemon.manifest(NAME, "v3").body == image.data
    assert time.monotonic() - started < 2 * client.SLOW
    assert tags_of(receiver.wait(len(image.blobs) + 3)) == ["v1", "v2", "v3"]
    assert "no answer within 200 ms" in daemon.whole_log()


def test_a_dead_receiver_holds_no_other_back(new_entrepot, receiver, image):
    dead = HttpServer("dead", None)
    dead.close()
    daemon = new_entrepot(None, {
        "default_upstream": None,
        "notifications.endpoints": [
            {"name": "dead", "url": dead.url, "retry_min": "20ms"},
            {"name": "b", "url": receiver.url}]})
    push(daemon, image, "v1")
    receiver.wait(len(image.blobs) + 1)
    daemon.wait_log("webhook dead: ")
    # It is told what it missed when it is there again, or never if it is no
    # receiver any more.
    daemon.config.tree["notifications"]["endpoints"].pop(0)
    daemon.reload()
    tag_all(daemon, image, ["v2"])
    wait_until(lambda: daemon.metrics()["entrepot_notifications_waiting"] == 0)


def test_without_receivers_no_event_waits(registry, receiver, image):
    daemon = registry()
    receiver.server.close()
    push(daemon, image, "v1")
    assert daemon.metrics()["entrepot_notifications_waiting"] > 0
    daemon.config.tree["notifications"]["endpoints"] = []
    daemon.reload()
    wait_until(lambda: daemon.metrics()["entrepot_notifications_waiting"] == 0)
    put_manifest(daemon, image, "v2")
    assert daemon.metrics()["entrepot_notifications_waiting"] == 0
    daemon.stop()
    assert daemon.rows().get("event", 0) == 0


# ---- restarts ----

@pytest.mark.parametrize("kill", [True, False])
def test_it_goes_on_after_a_restart(registry, receiver, image, kill):
    daemon = registry()
    push(daemon, image, "v1")
    before = len(image.blobs) + 1
    receiver.wait(before)
    wait_until(lambda: daemon.metrics()["entrepot_notifications_waiting"] == 0)
    receiver.server.close()
    tag_all(daemon, image, ["v2", "v3"])
    daemon.restart(kill=kill)
    assert daemon.metrics()["entrepot_notifications_waiting"] == 2
    receiver.server.open()
    events = receiver.wait(before + 2)
    assert tags_of(events) == ["v1", "v2", "v3"]
    wait_until(lambda: daemon.metrics()["entrepot_notifications_waiting"] == 0)
    assert len(receiver.taken) == before + 2


def test_killed_at_any_moment_it_tells_at_least_once(registry, receiver,
                                                     image):
    daemon = registry()
    push(daemon, image, "first")
    told = ["first"]
    for i in range(5):
        receiver.answers = [Plan(delay=0.002 * i)]
        tag_all(daemon, image, [f"v{i}"])
        told.append(f"v{i}")
        daemon.restart(kill=True)
    tag_all(daemon, image, ["last"])
    wait_until(lambda: "last" in tags_of(receiver.taken))
    seen = tags_of(receiver.taken)
    assert list(dict.fromkeys(seen)) == [*told, "last"]


# ---- bounds ----

def test_the_queue_is_bounded_and_what_is_lost_is_counted(registry, receiver,
                                                          image):
    daemon = registry(options={"notifications.queue_max": 20})
    push(daemon, image, "first")
    receiver.wait(len(image.blobs) + 1)
    wait_until(lambda: daemon.metrics()["entrepot_notifications_waiting"] == 0)
    receiver.server.close()
    tags = [f"v{i}" for i in range(100)]
    tag_all(daemon, image, tags)

    def cut():
        """And it knows, so that none of the others will be posted."""
        metrics = daemon.metrics()
        waiting = metrics["entrepot_notifications_waiting"]
        lost = metrics["entrepot_notifications_lost_total"]
        return waiting <= 22 and waiting + lost == 100
    wait_until(cut)
    receiver.server.open()
    wait_until(lambda: tags[-1] in tags_of(receiver.taken))
    seen = tags_of(receiver.taken)[1:]
    assert seen == tags[100 - len(seen):] and 20 <= len(seen) <= 22
    metrics = daemon.metrics()
    assert metrics["entrepot_notifications_lost_total"] == 100 - len(seen)
    assert daemon.whole_log().count("the oldest events are lost") == 1


def test_pulls_that_find_no_room_are_counted(registry, receiver, image):
    daemon = registry(actions=["pull"], retry_max="20ms")
    push(daemon, image, "v1")
    receiver.answers = [500] * 100000
    connection = daemon.connect()
    for _ in range(1100):
        assert connection.get(f"/v2/{NAME}/manifests/v1").status == 200
    wait_until(lambda: daemon.metrics()[
        "entrepot_notifications_pulls_dropped_total"], 10)
    receiver.answers = []
    wait_until(lambda: len(receiver.taken) == 1100 - daemon.metrics()[
        "entrepot_notifications_pulls_dropped_total"], 10)
    assert max(len(json.loads(r.body)["events"])
               for r in receiver.requests) == 100
