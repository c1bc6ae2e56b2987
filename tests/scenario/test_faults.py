# SPDX-License-Identifier: Apache-2.0
"""
Each fault at each place: what the client sees, what is stored, and that the
next pull is right without a restart.
"""

import time

import pytest

import client
import content
from client import SLOW, Background
from daemon import seconds, wait_until

NAME = "library/a"
AT = 900  # in the middle of manifest, blob and token answer
FOREVER = None

# name: (the fault, how often)
FAULTS = {
    "latency": ({"delay": 0.2}, FOREVER),
    "slow": ({"rate": 400_000}, FOREVER),
    "429 once": ({"status": 429}, 1),
    "429 with Retry-After 0": ({"status": 429,
                                "headers": {"Retry-After": "0"}}, 1),
    "429 with a date": ({"status": 429, "headers": {
        "Retry-After": "Wed, 21 Oct 2065 07:28:00 GMT"}}, 1),
    "429": ({"status": 429, "headers": {"Retry-After": "1"}}, FOREVER),
    "400": ({"status": 400}, FOREVER),
    "500 once": ({"status": 500}, 1),
    "500": ({"status": 500}, FOREVER),
    "502 in HTML": ({"status": 502, "body": b"<html>bad gateway</html>",
                     "headers": {"Content-Type": "text/html"}}, FOREVER),
    "503 once": ({"status": 503}, 1),
    "reset in the body once": ({"reset_after": AT}, 1),
    "reset in the body": ({"reset_after": AT}, FOREVER),
    "reset before the head once": ({"reset_after": -1}, 1),
    "reset before the head": ({"reset_after": -1}, FOREVER),
    "stall in the body once": ({"stall_after": AT}, 1),
    "stall in the body thrice": ({"stall_after": AT}, 3),
    "stall before the body": ({"stall_after": 0}, FOREVER),
    "never answers once": ({"mute": True}, 1),
    "never answers": ({"mute": True}, FOREVER),
    "truncated once": ({"truncate_after": AT}, 1),
    "truncated": ({"truncate_after": AT}, FOREVER),
    "wrong bytes once": ({"flip_at": AT}, 1),
    "wrong bytes": ({"flip_at": AT}, FOREVER),
    "no digest header": ({"headers": {"Docker-Content-Digest": None}},
                         FOREVER),
    "wrong digest header": ({"headers": {
        "Docker-Content-Digest": "sha256:" + "0" * 64}}, FOREVER),
    "digest header of nonsense": ({"headers": {
        "Docker-Content-Digest": "x"}}, FOREVER),
    "no type": ({"headers": {"Content-Type": None}}, FOREVER),
    "wrong type": ({"headers": {"Content-Type": "text/html"}}, FOREVER),
    "length too long": ({"headers": {"Content-Length": "999999"}}, FOREVER),
    "length too short": ({"headers": {"Content-Length": "100"}}, FOREVER),
    "length of nonsense": ({"headers": {"Content-Length": "ten"}}, FOREVER),
    "chunked": ({"chunked": True}, FOREVER),
    "range ignored": ({"ignore_range": True}, FOREVER),
    "redirect loop": ({"redirect": "loop"}, FOREVER),
    "redirect to nowhere": ({"redirect": "http://127.0.0.1:1/x"}, FOREVER),
    "redirect to nonsense": ({"redirect": "::::"}, FOREVER),
    "redirect to a file": ({"redirect": "file:///etc/passwd"}, FOREVER),
    "empty body": ({"body": b""}, FOREVER),
    "204": ({"status": 204, "body": b""}, FOREVER),
    "304": ({"status": 304, "body": b""}, FOREVER),
    "206 of the whole": ({"status": 206}, FOREVER),
}

PLACES = ["manifest", "blob", "direct blob", "token", "cdn"]

# Where the client must not notice, one row per fault; "blob" stands for
# both kinds of blob answer.
UNNOTICED = {
    "latency": PLACES,
    "slow": PLACES,
    "429 with Retry-After 0": ["manifest", "blob", "direct blob", "cdn"],
    "500 once": ["blob", "direct blob", "cdn"],
    "503 once": ["blob", "direct blob", "cdn"],
    "reset in the body once": ["direct blob", "cdn"],
    "reset before the head once": ["blob", "direct blob", "cdn"],
    "stall in the body once": ["direct blob", "cdn"],
    "stall in the body thrice": ["direct blob", "cdn"],
    "never answers once": ["blob", "direct blob", "cdn"],
    "truncated once": ["direct blob", "cdn"],
    "no digest header": PLACES,
    "wrong type": ["blob", "direct blob", "token", "cdn"],
    "no type": ["blob", "direct blob", "token", "cdn"],
    "chunked": ["manifest", "direct blob", "token", "cdn"],
    "range ignored": PLACES,
}


@pytest.fixture
def image():
    return content.make_image([100_000, 1000], "fault", pad=2000)


def mirror_of(new_up, new_entrepot, image, place):
    up = new_up(cdn=place != "direct blob")
    up.put_image(NAME, "1", image)
    up.require_login()
    long_token(up)
    entrepot = new_entrepot(
        up, {"server.deadlines.drain": "200ms"}, retries=2,
        stall=seconds(0.3), first_byte=seconds(0.4), token=seconds(0.4),
        connect=seconds(0.5), quota_hold="100ms", quota_max="1s",
        mismatch_hold="50ms", stale_hold="50ms", negative="50ms")
    return up, entrepot


def long_token(up):
    """Tokens so long that a fault at AT is in the middle of one."""
    issue = up.auth.issue

    def wrapped(user, wanted):
        token = issue(user, wanted)
        long = token.text + "-" + "x" * 2000
        up.auth._tokens[long] = token
        token.text = long
        return token

    up.auth.issue = wrapped


def attempt(entrepot, image):
    """One pull; None, or what went wrong.  Wrong bytes never pass."""
    try:
        answer = entrepot.manifest(NAME, "1")
        if answer.status != 200:
            return answer
        client.check_manifest(answer, image)
        for blob in image.blobs:
            answer = entrepot.blob(NAME, blob.digest)
            if answer.status != 200:
                return answer
            client.check_blob(answer, blob)
    except client.Closed as error:
        return error
    return None


def kind_of(place):
    return "blob" if place == "direct blob" else place


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", FAULTS)
def test_fault(new_up, new_entrepot, image, name, place):
    what, times = FAULTS[name]
    up, entrepot = mirror_of(new_up, new_entrepot, image, place)
    fault = up.fault(kind=kind_of(place), times=times, **what)
    start = time.monotonic()
    problem = attempt(entrepot, image)
    assert time.monotonic() - start < 10 * SLOW
    if place in UNNOTICED.get(name, ()):
        assert problem is None, problem
    if isinstance(problem, client.Response):
        honest(problem, name)
    assert fault.hits
    for blob in image.blobs:
        path = entrepot.stored(blob.digest)
        assert path is None or path.read_bytes() == blob.data
    fault.clear()
    wait_until(lambda: attempt(entrepot, image) is None, 5,
               lambda: f"still {attempt(entrepot, image)}")
    for blob in image.blobs:
        entrepot.wait_stored(blob)


def honest(answer, name):
    """An error that says what happened: no 404 and no 401 for an outage."""
    assert answer.status in (403, 429, 502, 503, 504), answer
    assert answer.status != 403 or name == "400"
    assert answer.status != 429 or "429" in name
    assert answer.message.strip()
    if answer.status != 429:
        assert "docker.io" in answer.message, answer.message
    assert "WWW-Authenticate" not in answer.headers


@pytest.mark.parametrize("size, stored", [(3_000_000, True),
                                          (5_000_000, False)])
def test_huge_manifest(up, entrepot, size, stored):
    image = content.make_image([10], "huge", pad=size)
    up.put_image(NAME, "1", image)
    answer = entrepot.manifest(NAME, "1")
    if stored:
        client.check_manifest(answer, image)
        return
    assert answer.status == 502 and "docker.io" in answer.message
    assert up.requests("manifest", "GET")[-1].sent < size or \
        entrepot.memory() < 64 * content.MIB
    up.move_tag(NAME, "1", content.make_image([10], "small"))
    wait_until(lambda: entrepot.manifest(NAME, "1").status == 200, 5)


@pytest.mark.parametrize("document", [
    b"", b"[]", b"null", b'"x"', b"{", b'{"schemaVersion":2}',
    b'{"schemaVersion":2,"layers":5}', b"[" * 100_000,
    b'{"manifests":[{"digest":"nonsense","size":-1}]}',
    b'{"config":{"digest":"sha256:' + b"0" * 64 + b'","size":1e400}}'])
def test_manifest_of_nonsense_is_no_crash(up, entrepot, image, document):
    odd = content.Image(document, content.digest_of(document),
                        content.OCI_MANIFEST)
    up.put_image(NAME, "1", image)
    up.put_manifest(NAME, odd, "odd")
    for reference in ("odd", odd.digest):
        answer = entrepot.manifest(NAME, reference)
        assert answer.status == 502 or (answer.status == 200 and
                                        answer.body == document)
    assert attempt(entrepot, image) is None


def test_manifest_whose_body_says_another_type(up, entrepot):
    image = content.make_image([10], "liar")
    up.put_image(NAME, "1", image)
    up.fault(kind="manifest",
             headers={"Content-Type": content.DOCKER_MANIFEST})
    answer = entrepot.manifest(NAME, "1")
    assert answer.status == 502, answer


def test_parameters_of_a_content_type_are_dropped(up, entrepot, image):
    up.put_image(NAME, "1", image)
    up.fault(kind="manifest", headers={
        "Content-Type": content.OCI_MANIFEST + "; charset=utf-8"})
    client.check_manifest(entrepot.manifest(NAME, "1"), image)


@pytest.mark.parametrize("where", ["tags", "referrers"])
@pytest.mark.parametrize("what", [
    {"status": 500}, {"body": b"{"}, {"body": b"[]"}, {"body": b"{}"},
    {"body": b'{"tags":5,"manifests":5}'}, {"reset_after": 5},
    {"redirect": "loop"}, {"mute": True}])
def test_fault_in_a_list(up, new_entrepot, image, where, what):
    entrepot = new_entrepot(up, list="1ms", first_byte=seconds(0.3),
                            retries=1, stale_hold="50ms")
    up.put_image(NAME, "1", image)
    entrepot.learn(NAME, "1", image)
    fault = up.fault(kind=where, **what)
    path = f"/v2/{NAME}/tags/list" if where == "tags" else \
        f"/v2/{NAME}/referrers/{image.digest}"
    answer = entrepot.get(path)
    assert answer.status in (200, 502, 503, 504)
    if answer.status == 200 and what != {"body": b"{}"}:
        assert answer.warning
    fault.clear()
    time.sleep(0.1)
    answer = wait_until(lambda: good(entrepot.get(path)), 3)
    found = answer.json()["tags" if where == "tags" else "manifests"]
    assert found == (["1"] if where == "tags" else [])


def good(answer):
    return answer if answer.status == 200 and not answer.warning else None


def test_endless_link_of_a_list_is_bounded(up, entrepot, image):
    up.put_image(NAME, "1", image)
    up.fault(kind="referrers", headers={
        "Link": f'</v2/{NAME}/referrers/{image.digest}?page=0>; rel="next"'})
    entrepot.get(f"/v2/{NAME}/referrers/{image.digest}")
    assert up.count(kind="referrers") < 200


def test_link_to_another_host_is_not_followed(new_up, new_entrepot, image):
    up, other = new_up(), new_up()
    up.put_image(NAME, "1", image)
    up.fault(kind="referrers", headers={
        "Link": f'<{other.url}/v2/{NAME}/referrers/x>; rel="next"'})
    entrepot = new_entrepot(up)
    entrepot.get(f"/v2/{NAME}/referrers/{image.digest}")
    assert not other.requests()


def test_one_upstreams_trouble_is_not_anothers(new_up, new_entrepot, image):
    sick, well = new_up(), new_up()
    for one in (sick, well):
        one.put_image("org/img", "1", image)
    entrepot = new_entrepot({"docker.io": sick, "quay.io": well})
    sick.mute()
    stuck = [client.Background(entrepot.manifest, "org/img", "1")
             for _ in range(20)]
    start = time.monotonic()
    client.Podman(entrepot.address).pull("quay.io/org/img", "1", image)
    assert time.monotonic() - start < 1 * SLOW
    sick.mute(False)
    for one in stuck:
        one.join()


def test_checks_are_never_behind_blob_transfers(up, new_entrepot, image):
    entrepot = new_entrepot(up, connections=2)
    up.put_image(NAME, "1", image)
    blobs = [content.make_blob(content.MIB, i) for i in range(6)]
    for blob in blobs:
        up.put_blob(NAME, blob)
    fault = up.fault(kind="cdn", stall_after=1000)
    waiting = [client.Background(entrepot.blob, NAME, b.digest)
               for b in blobs]
    up.wait_for(2, kind="cdn")
    start = time.monotonic()
    client.check_manifest(entrepot.manifest(NAME, "1"), image)
    assert time.monotonic() - start < 0.5 * SLOW
    assert fault.hits == 2
    fault.clear()
    for one, blob in zip(waiting, blobs):
        client.check_blob(one.join(), blob)


# ---- a byte at a time ----

@pytest.mark.parametrize("kind", ["manifest", "token", "tags", "referrers"])
def test_small_answer_that_drips_ends(up, new_entrepot, image, kind):
    """Each byte is in time; all of them would take minutes."""
    entrepot = new_entrepot(up, answer=seconds(0.5), token=seconds(0.5),
                            retries=0)
    up.put_image(NAME, "1", image)
    if kind == "token":
        up.require_login()
    fault = up.fault(kind=kind, method="GET", rate=20, body=b" " * 4000)
    path = {"tags": "tags/list", "referrers": f"referrers/{image.digest}"}.get(
        kind, "manifests/1")
    start = time.monotonic()
    answer = entrepot.get(f"/v2/{NAME}/{path}")
    assert time.monotonic() - start < 10 * SLOW
    assert fault.hits
    assert answer.status == 504, answer
    assert "docker.io" in answer.message
    wait_until(lambda: all(r.ended for r in fault.met), 5)


def test_redirect_whose_body_drips_is_followed(up, new_entrepot, image):
    entrepot = new_entrepot(up, answer=seconds(0.5))
    up.put_image(NAME, "1", image)
    fault = up.fault(kind="blob", rate=20, body=b" " * 4000)
    start = time.monotonic()
    blob = image.layers[0]
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    assert time.monotonic() - start < 10 * SLOW
    assert fault.hits == 1


def test_max_rate(up, new_entrepot):
    entrepot = new_entrepot(up, max_rate="1M")
    blob = content.make_blob(content.MIB, "rate")
    up.put_blob(NAME, blob)
    start = time.monotonic()
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    assert 0.5 < time.monotonic() - start < 3 * SLOW


# ---- an upstream that takes no connection ----

@pytest.fixture
def unreached(up, new_entrepot, image):
    """A cold blob, as by default, but of an upstream that is away."""
    entrepot = new_entrepot(up, retry_min="250ms", retry_max="10s")
    up.put_image(NAME, "1", image)
    entrepot.learn(NAME, "1", image)
    up.close()
    return entrepot


def test_blob_of_an_upstream_that_refuses_fails_soon(unreached, image):
    started = time.monotonic()
    answer = unreached.blob(NAME, image.layers[0].digest)
    assert answer.status == 503, answer
    # All its tries would wait for 7.75 s.
    assert 1.5 < time.monotonic() - started < 5


def test_upstream_that_is_started_again_is_waited_for(up, unreached, image):
    blob = image.layers[0]
    pull = Background(unreached.blob, NAME, blob.digest)
    time.sleep(0.6)
    up.open()
    client.check_blob(pull.join(), blob)


def test_upstream_that_goes_away_in_a_blob_is_waited_for(up, new_entrepot,
                                                         image):
    entrepot = new_entrepot(up, retry_min="250ms", retry_max="10s")
    blob = content.make_blob(content.MIB, "goes away")
    up.put_blob(NAME, blob)
    up.fault(kind="cdn", times=1, stall_after=blob.size // 2)
    download = entrepot.download(NAME, blob.digest).read(blob.size // 2)
    up.close()
    time.sleep(2.5)
    up.open()
    client.check_blob(download.finish(), blob)
