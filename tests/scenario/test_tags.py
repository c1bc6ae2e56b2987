# SPDX-License-Identifier: Apache-2.0
"""How fresh a tag is, what a check costs, and what happens when it fails."""

import re
import time

import pytest

import client
import content
from client import SLOW, Background
from daemon import seconds, wait_until
from upstream import Quota

NAME = "library/a"


@pytest.fixture
def old(up):
    return up.put_image(NAME, "1", content.make_image([5000], "old"))


@pytest.fixture
def new():
    return content.make_image([5000], "new")


def by_tag(entrepot, image, verdict=None, tag="1", method="GET"):
    """The tag answers with this image."""
    answer = entrepot.manifest(NAME, tag, method)
    if method == "GET":
        client.check_manifest(answer, image)
    else:
        assert (answer.status, answer.digest) == (200, image.digest)
    if verdict:
        assert answer.verdict == verdict, answer
    return answer


def is_stale(answer):
    assert answer.verdict == "stale", answer
    assert answer.warning.startswith('299 - "stale'), answer
    return True


# ---- the check period ----

def test_no_question_within_the_period(up, new_entrepot, old, new):
    entrepot = new_entrepot(up, check="10m")
    by_tag(entrepot, old, "miss")
    up.forget()
    up.move_tag(NAME, "1", new)
    for _ in range(5):
        by_tag(entrepot, old, "hit")
    assert not up.requests()


def test_age_counts_from_the_check(up, new_entrepot, old):
    entrepot = new_entrepot(up, check="10m")
    up.put_image(NAME, "1", old)
    assert entrepot.manifest(NAME, "1").headers["Age"] == "0"
    time.sleep(1.1)
    assert 1 <= int(entrepot.manifest(NAME, "1").headers["Age"]) <= 1 + SLOW
    entrepot.command("refresh", f"{NAME}:1")
    assert entrepot.manifest(NAME, "1").headers["Age"] == "0"


def test_period_over_costs_a_head(up, new_entrepot, old):
    entrepot = new_entrepot(up, check=seconds(1))
    by_tag(entrepot, old)
    for _ in range(2):
        time.sleep(1.05 * SLOW)
        up.forget()
        by_tag(entrepot, old, "revalidated")
        by_tag(entrepot, old, "hit")
        assert [r.method for r in up.requests("manifest")] == ["HEAD"]


def test_moved_tag_is_head_then_get_by_digest(up, new_entrepot, old, new):
    entrepot = new_entrepot(up, check="always")
    by_tag(entrepot, old)
    up.move_tag(NAME, "1", new)
    up.forget()
    by_tag(entrepot, new, "miss")
    assert [(r.method, r.reference) for r in up.requests("manifest")] == \
        [("HEAD", "1"), ("GET", new.digest)]


def test_head_of_a_moved_tag_brings_the_new_manifest(up, new_entrepot, old,
                                                     new):
    entrepot = new_entrepot(up, check="always")
    by_tag(entrepot, old)
    up.move_tag(NAME, "1", new)
    by_tag(entrepot, new, method="HEAD")
    up.close()
    client.check_manifest(entrepot.manifest(NAME, new.digest), new)


def test_always_and_never(up, new_entrepot, old, new):
    entrepot = new_entrepot(up, check="always", tags=[
        {"match": "v*", "check": "never"}, {"match": "*", "check": "always"}])
    up.put_image(NAME, "v1", old)
    by_tag(entrepot, old, tag="v1")
    by_tag(entrepot, old)
    up.move_tag(NAME, "v1", new)
    up.move_tag(NAME, "1", new)
    by_tag(entrepot, old, "hit", tag="v1")
    by_tag(entrepot, new)


def test_tag_that_moves_back_costs_no_get(up, new_entrepot, old, new):
    entrepot = new_entrepot(up, check="always")
    by_tag(entrepot, old)
    up.move_tag(NAME, "1", new)
    by_tag(entrepot, new)
    up.move_tag(NAME, "1", old)
    up.forget()
    by_tag(entrepot, old, "revalidated")
    assert not up.requests("manifest", "GET")


def test_digest_held_through_another_tag_costs_no_get(up, entrepot, old):
    by_tag(entrepot, old)
    up.repository(NAME).tags["2"] = old.digest
    up.forget()
    by_tag(entrepot, old, tag="2")
    assert [r.method for r in up.requests("manifest")] == ["HEAD"]


def test_quota_is_never_spent_on_an_unchanged_tag(up, new_entrepot, old):
    entrepot = new_entrepot(up, check="always")
    up.quota = Quota(remaining=1)
    for _ in range(10):
        by_tag(entrepot, old)
    assert up.quota.remaining == 0
    assert up.count(kind="manifest", method="GET") == 1


# ---- odd upstreams ----

@pytest.mark.parametrize("fault", [
    {"status": 405}, {"status": 400}, {"status": 401}, {"status": 403},
    {"headers": {"Docker-Content-Digest": None}}])
def test_head_that_does_not_help_is_a_get_by_tag(up, new_entrepot, old, new,
                                                 fault):
    entrepot = new_entrepot(up, check="always")
    up.fault(kind="manifest", method="HEAD", **fault)
    by_tag(entrepot, old)
    up.move_tag(NAME, "1", new)
    by_tag(entrepot, new)


def test_who_may_see_is_asked_by_get_where_there_is_no_head(up, new_entrepot,
                                                            old):
    entrepot = new_entrepot(up, username="joe", password="s3cret")
    up.require_login(users={"joe": "s3cret"})
    up.fault(kind="manifest", method="HEAD", status=405)
    for _ in range(2):
        by_tag(entrepot, old)
    client.check_manifest(entrepot.manifest(NAME, old.digest), old)


def test_digest_that_is_gone_by_the_get_is_a_get_by_tag(up, entrepot, old):
    up.fault(kind="manifest", method="GET", reference=old.digest, status=404,
             times=1)
    by_tag(entrepot, old)
    assert up.count(kind="manifest", method="GET", tag="1") == 1


def test_weak_or_odd_type_is_refused(up, new_entrepot, old):
    entrepot = new_entrepot(up)
    up.fault(kind="manifest", times=2,
             headers={"Content-Type": "text/html; charset=utf-8"})
    answer = entrepot.manifest(NAME, "1")
    assert answer.status == 502
    wait_until(lambda: entrepot.manifest(NAME, "1").status == 200, 3)


# ---- failure: stale ----

def test_freshness_deadline_then_stale_and_a_check_behind(up, new_entrepot,
                                                          old, new):
    entrepot = new_entrepot(up, check="always", freshness=seconds(2),
                            stale_hold=seconds(60))
    by_tag(entrepot, old)
    up.move_tag(NAME, "1", new)
    fault = up.fault(kind="manifest", hold=True)
    start = time.monotonic()
    is_stale(by_tag(entrepot, old))
    assert 1.9 * SLOW < time.monotonic() - start < 8 * SLOW
    start = time.monotonic()
    for _ in range(5):
        is_stale(by_tag(entrepot, old))
    assert time.monotonic() - start < 5 * SLOW
    fault.release()
    wait_until(lambda: entrepot.manifest(NAME, "1").digest == new.digest, 10)


@pytest.mark.parametrize("fault", [
    {"status": 500}, {"status": 503}, {"status": 429}, {"reset_after": -1},
    {"status": 200, "body": b"{", "headers": {"Docker-Content-Digest": None}},
    {"status": 418}])
def test_failed_check_is_stale_with_a_warning(up, new_entrepot, old, fault):
    entrepot = new_entrepot(up, check="always", retries=1)
    by_tag(entrepot, old)
    up.fault(kind="manifest", **fault)
    for method in ("GET", "HEAD"):
        is_stale(by_tag(entrepot, old, method=method))


def test_upstream_down_is_stale_and_immediate(up, new_entrepot, old):
    entrepot = new_entrepot(up, check="always", stale_hold=seconds(20))
    by_tag(entrepot, old)
    up.close()
    is_stale(by_tag(entrepot, old))
    start = time.monotonic()
    for _ in range(20):
        is_stale(by_tag(entrepot, old))
    assert time.monotonic() - start < 0.5 * SLOW


def test_failed_connection_makes_all_tags_of_the_upstream_immediate(
        up, new_entrepot, old):
    entrepot = new_entrepot(up, check="always", freshness=seconds(2),
                            stale_hold=seconds(60))
    up.put_image(NAME, "2", old)
    by_tag(entrepot, old)
    by_tag(entrepot, old, tag="2")
    up.mute()
    up.registry.cut()
    is_stale(by_tag(entrepot, old))
    # The fetch loop notes it, which hears of it by a message.
    entrepot.wait_log("has not answered within")
    start = time.monotonic()
    is_stale(by_tag(entrepot, old, tag="2"))
    assert time.monotonic() - start < 1 * SLOW
    up.mute(False)


def test_error_status_makes_only_that_tag_immediate(up, new_entrepot, old):
    entrepot = new_entrepot(up, check="always", stale_hold=seconds(20))
    up.put_image(NAME, "2", old)
    by_tag(entrepot, old)
    by_tag(entrepot, old, tag="2")
    up.fault(kind="manifest", reference="1", status=500)
    is_stale(by_tag(entrepot, old))
    by_tag(entrepot, old, "revalidated", tag="2")


def test_stale_ends_when_the_upstream_is_back(up, new_entrepot, old, new):
    entrepot = new_entrepot(up, check="always", stale_hold=seconds(0.2))
    by_tag(entrepot, old)
    up.close()
    is_stale(by_tag(entrepot, old))
    up.move_tag(NAME, "1", new)
    up.open()
    wait_until(lambda: entrepot.manifest(NAME, "1").digest == new.digest, 5)
    assert entrepot.manifest(NAME, "1").warning is None
    entrepot.wait_log("info docker.io answers again")
    [out] = re.findall(r"warn (docker\.io cannot be reached .*)",
                       entrepot.log())
    assert "what is held is served" in out


def test_newest_held_that_can_be_pulled_whole_is_the_stale_answer(
        up, new_entrepot, old, new):
    """The new manifest came, its layers did not: the old one is whole."""
    entrepot = new_entrepot(up, check="always", stale_hold=seconds(0.2))
    client.Podman(entrepot.address).pull(NAME, "1", old)
    for blob in old.blobs:
        entrepot.wait_stored(blob)
    up.move_tag(NAME, "1", new)
    by_tag(entrepot, new)
    up.close()
    is_stale(by_tag(entrepot, old))
    up.open()
    wait_until(lambda: entrepot.manifest(NAME, "1").digest == new.digest, 5)
    client.Podman(entrepot.address).pull(NAME, "1", new)
    for blob in new.blobs:
        entrepot.wait_stored(blob)
    up.close()
    is_stale(by_tag(entrepot, new))


def test_head_then_get_by_digest_holds_the_tag(up, new_entrepot, old):
    """dockerd and containerd never get the tag itself."""
    entrepot = new_entrepot(up, check="10m")
    by_tag(entrepot, old, method="HEAD")
    client.check_manifest(entrepot.manifest(NAME, old.digest), old)
    up.forget()
    by_tag(entrepot, old, "hit", method="HEAD")
    assert not up.requests()


def test_manifest_that_came_by_digest_is_the_older_one(up, new_entrepot, old,
                                                       new):
    """As above, for a client that pulls like dockerd."""
    entrepot = new_entrepot(up, check="always")
    client.Docker(entrepot.address).pull(NAME, "1", old)
    for blob in old.blobs:
        entrepot.wait_stored(blob)
    up.move_tag(NAME, "1", new)
    by_tag(entrepot, new)
    up.close()
    is_stale(by_tag(entrepot, old))


def failed(answer):
    return answer if answer.status != 200 else None


def test_max_stale(up, new_entrepot, old):
    entrepot = new_entrepot(up, check=seconds(0.1), max_stale=seconds(3),
                            stale_hold="10ms")
    by_tag(entrepot, old)
    up.close()
    time.sleep(0.2 * SLOW)
    is_stale(by_tag(entrepot, old))
    answer = wait_until(lambda: failed(entrepot.manifest(NAME, "1")), 10)
    assert answer.status in (502, 503, 504)
    assert "docker.io" in answer.message
    client.check_manifest(entrepot.manifest(NAME, old.digest), old)


def test_one_check_at_a_time(up, new_entrepot, old):
    entrepot = new_entrepot(up, {"server.loops": 1}, check="always",
                            freshness=seconds(20))
    by_tag(entrepot, old)
    up.forget()
    fault = up.fault(kind="manifest", hold=True)
    waiting = entrepot.ask_all(f"/v2/{NAME}/manifests/1", 12)
    up.wait_for(kind="manifest")
    fault.release()
    for one in waiting:
        client.check_manifest(one.read(), old)
    assert up.count(kind="manifest") == 1


def test_one_check_at_a_time_where_nothing_is_held(up, entrepot, old):
    fault = up.fault(kind="manifest", hold=True)
    waiting = [Background(entrepot.manifest, NAME, "1") for _ in range(12)]
    up.wait_for(kind="manifest")
    time.sleep(0.15)
    fault.release()
    for one in waiting:
        client.check_manifest(one.join(), old)
    assert [r.method for r in up.requests("manifest")] == ["HEAD", "GET"]


# ---- denied and gone ----

@pytest.mark.parametrize("status", [401, 403, 451])
def test_denied_is_stale_for_a_while_then_403(up, new_entrepot, old, status):
    entrepot = new_entrepot(up, check=seconds(0.1), max_denied=seconds(0.8),
                            stale_hold="10ms")
    by_tag(entrepot, old)
    time.sleep(0.15 * SLOW)
    fault = up.fault(kind="manifest", status=status)
    is_stale(by_tag(entrepot, old))
    time.sleep(0.9 * SLOW)
    for reference in ("1", old.digest):
        answer = wait_until(
            lambda reference=reference: denied(entrepot, reference), 3)
        assert answer.code == "DENIED"
        assert "docker.io" in answer.message
        assert "WWW-Authenticate" not in answer.headers
    fault.clear()
    wait_until(lambda: entrepot.manifest(NAME, "1").status == 200, 3)
    client.check_manifest(entrepot.manifest(NAME, old.digest), old)


@pytest.mark.parametrize("status", [401, 403, 451])
def test_blobs_of_a_denied_repository_follow_it(up, new_entrepot, old,
                                                status):
    entrepot = new_entrepot(up, check=seconds(0.1), max_denied=seconds(3),
                            stale_hold="10ms")
    blob, missing = old.layers[0], old.config
    by_tag(entrepot, old)
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)
    fault = up.fault(kind=("manifest", "blob"), status=status)
    wait_until(lambda: by_tag(entrepot, old).verdict == "stale", 3)
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    wait_until(lambda: entrepot.blob(NAME, blob.digest).status == 403, 10)
    for one in (blob, missing):
        for method, headers in (("GET", {}), ("GET", {"Range": "bytes=-9"}),
                                ("HEAD", {})):
            answer = entrepot.blob(NAME, one.digest, headers, method)
            assert answer.status == 403, (method, headers, answer)
            assert "WWW-Authenticate" not in answer.headers
    answer = entrepot.blob(NAME, blob.digest)
    assert answer.code == "DENIED" and "docker.io" in answer.message
    fault.clear()
    wait_until(lambda: entrepot.blob(NAME, blob.digest).status == 200, 3)
    client.check_blob(entrepot.blob(NAME, missing.digest), missing)


def test_denied_blob_is_asked_for_once_per_check(up, new_entrepot, old):
    entrepot = new_entrepot(up, check=seconds(30), max_denied="0s")
    by_tag(entrepot, old)
    blob = old.layers[0]
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    entrepot.wait_stored(blob)
    up.fault(kind=("manifest", "blob"), status=403)
    assert entrepot.command("refresh", NAME + ":1").returncode != 0
    up.forget()
    for _ in range(3):
        assert entrepot.blob(NAME, blob.digest).status == 403
    assert not up.requests()


def denied(entrepot, reference):
    answer = entrepot.manifest(NAME, reference)
    return answer if answer.status == 403 else None


def test_denial_of_head_and_get_is_one(up, new_entrepot, old):
    """Some registries refuse every HEAD: only the GET says who is denied."""
    entrepot = new_entrepot(up, check="always", stale_hold="1ms")
    by_tag(entrepot, old)
    up.forget()
    up.fault(kind="manifest", method="HEAD", status=403)
    by_tag(entrepot, old, "revalidated")
    up.fault(kind="manifest", method="GET", status=403)
    assert "denies" in by_tag(entrepot, old, "stale").warning
    assert [r.method for r in up.requests("manifest")] == ["HEAD", "GET"] * 2


def test_denial_of_head_stands_while_no_get_may_be_asked(up, new_entrepot,
                                                         old, new):
    entrepot = new_entrepot(up, check="always", stale_hold="1ms")
    by_tag(entrepot, old)
    up.quota = Quota(remaining=0, retry_after=100)
    up.move_tag(NAME, "1", new)
    is_stale(by_tag(entrepot, old))
    up.forget()
    up.fault(kind="manifest", method="HEAD", status=403)
    wait_until(lambda: "denies" in by_tag(entrepot, old, "stale").warning, 3)
    assert not up.requests("manifest", "GET")


def test_denied_where_nothing_is_held(up, entrepot, old):
    up.fault(kind="manifest", status=403)
    for reference in ("1", old.digest):
        answer = entrepot.manifest(NAME, reference)
        assert (answer.status, answer.code) == (403, "DENIED")


def test_tag_that_is_gone_is_kept(up, new_entrepot, old):
    entrepot = new_entrepot(up, check="always", list="1ms")
    up.put_image(NAME, "2", old)
    by_tag(entrepot, old)
    by_tag(entrepot, old, tag="2")
    up.delete_tag(NAME, "1")
    by_tag(entrepot, old)
    up.close()
    time.sleep(0.05)
    by_tag(entrepot, old)
    held = entrepot.get(f"/v2/{NAME}/tags/list")
    assert held.json()["tags"] == ["2"]


def test_gone_follow_drops_the_tag(up, new_entrepot, old):
    entrepot = new_entrepot(up, check="always", gone="follow")
    by_tag(entrepot, old)
    up.delete_tag(NAME, "1")
    answer = entrepot.manifest(NAME, "1")
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    up.close()
    assert entrepot.manifest(NAME, "1").status != 200
    client.check_manifest(entrepot.manifest(NAME, old.digest), old)


def test_missing_tag_is_believed_for_a_while(up, new_entrepot, old, new):
    entrepot = new_entrepot(up, negative=seconds(60))
    for method in ("GET", "HEAD", "GET"):
        answer = entrepot.manifest(NAME, "2", method)
        assert answer.status == 404
    assert up.count(kind="manifest", tag="2") <= 2
    up.put_image(NAME, "2", new)
    assert entrepot.manifest(NAME, "2").status == 404


def test_missing_tag_is_asked_for_again(up, new_entrepot, old, new):
    entrepot = new_entrepot(up, negative="50ms")
    assert entrepot.manifest(NAME, "2").status == 404
    up.put_image(NAME, "2", new)
    time.sleep(0.06)
    by_tag(entrepot, new, tag="2")


def test_outage_is_not_remembered_as_missing(up, new_entrepot, old):
    entrepot = new_entrepot(up, stale_hold="50ms")
    up.close()
    answer = entrepot.manifest(NAME, "1")
    assert answer.status in (502, 503, 504)
    up.open()
    wait_until(lambda: entrepot.manifest(NAME, "1").status == 200, 3)


def test_missing_digest_and_name(up, entrepot, old):
    answer = entrepot.manifest(NAME, "sha256:" + "0" * 64)
    assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    answer = entrepot.manifest("library/nothing", "1")
    assert answer.status == 404
    assert answer.code in ("NAME_UNKNOWN", "MANIFEST_UNKNOWN")


# ---- 429 ----

def test_429_where_nothing_is_held_goes_out_and_is_remembered(up, entrepot,
                                                              old):
    up.quota = Quota(remaining=0, retry_after=100)
    answer = entrepot.manifest(NAME, "1")
    assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
    assert 90 <= int(answer.headers["Retry-After"]) <= 100
    asked = up.count(kind="manifest", method="GET")
    assert asked == 1
    for reference in ("1", old.digest):
        assert entrepot.manifest(NAME, reference).status == 429
    assert up.count(kind="manifest", method="GET") == asked


def test_429_stops_neither_heads_nor_blobs(up, new_entrepot, old, new):
    entrepot = new_entrepot(up, check="always", stale_hold="1ms")
    by_tag(entrepot, old)
    up.quota = Quota(remaining=0, retry_after=100)
    up.move_tag(NAME, "1", new)
    is_stale(by_tag(entrepot, old))
    blob = old.layers[0]
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    up.move_tag(NAME, "1", old)
    wait_until(lambda: by_tag(entrepot, old).verdict == "revalidated", 3)


def test_429_with_a_short_retry_after_is_waited_for(up, entrepot, old):
    up.fault(kind="manifest", method="GET", times=1, status=429,
             headers={"Retry-After": "1"})
    start = time.monotonic()
    by_tag(entrepot, old)
    assert time.monotonic() - start >= 0.9


def test_429_without_retry_after_holds_for_the_configured_time(
        up, new_entrepot, old):
    entrepot = new_entrepot(up, quota_hold=seconds(30))
    up.fault(kind="manifest", method="GET", times=1, status=429)
    assert entrepot.manifest(NAME, "1").status == 429
    assert entrepot.manifest(NAME, "1").status == 429
    assert up.count(kind="manifest", method="GET") == 1


def test_429_to_a_head_stops_checks(up, new_entrepot, old):
    entrepot = new_entrepot(up, check="always", stale_hold="1ms")
    by_tag(entrepot, old)
    up.forget()
    up.fault(kind="manifest", status=429, headers={"Retry-After": "100"})
    for _ in range(5):
        is_stale(by_tag(entrepot, old))
        time.sleep(0.01)
    assert up.count(kind="manifest", method="HEAD") == 1


def test_ratelimit_is_exported(up, entrepot, old):
    up.quota = Quota(limit=100, remaining=77)
    by_tag(entrepot, old)
    found = {k: v for k, v in entrepot.metrics().items()
             if "ratelimit" in k or "quota" in k}
    assert 76 in found.values() and 100 in found.values(), found


# ---- lists ----

@pytest.fixture
def tagged(up, old):
    for tag in ("a", "b", "c", "d"):
        up.repository(NAME).tags[tag] = old.digest
    return ["1", "a", "b", "c", "d"]


def tags(entrepot, query="", path=NAME):
    return entrepot.get(f"/v2/{path}/tags/list{query}")


def test_tags_list_passes_the_upstreams_through(up, entrepot, tagged):
    answer = tags(entrepot)
    assert answer.json() == {"name": NAME, "tags": tagged}
    assert answer.headers["Content-Type"].startswith("application/json")
    assert tags(entrepot).json()["tags"] == tagged
    assert up.count(kind="tags") == 1


def test_tags_list_pages_have_a_relative_link_of_our_own(up, entrepot,
                                                         tagged):
    for path in (NAME, "a", f"docker.io/{NAME}"):
        found, query = [], "?n=2"
        while True:
            answer = tags(entrepot, query, path)
            found += answer.json()["tags"]
            link = answer.headers.get("Link")
            if not link:
                break
            target = link.partition(";")[0].strip("<>")
            assert target.startswith(f"/v2/{path}/tags/list?"), link
            assert 'rel="next"' in link
            query = "?" + target.partition("?")[2]
        assert found == tagged
    assert tags(entrepot, "?last=b").json()["tags"] == ["c", "d"]
    assert tags(entrepot, "?n=0").json()["tags"] == []


def test_tags_list_falls_back_on_what_is_held(up, new_entrepot, old, tagged):
    entrepot = new_entrepot(up, list="1ms")
    by_tag(entrepot, old)
    by_tag(entrepot, old, tag="c")
    assert tags(entrepot).json()["tags"] == tagged
    up.close()
    time.sleep(0.02)
    answer = tags(entrepot)
    assert answer.json()["tags"] == ["1", "c"]
    assert answer.warning.startswith("299")


def test_tags_list_of_nothing(up, entrepot):
    answer = tags(entrepot, path="library/none")
    assert (answer.status, answer.code) == (404, "NAME_UNKNOWN")


@pytest.fixture
def signed(up, old):
    made = [content.make_image([10], f"sig{i}", subject=old,
                               artifact_type=f"application/x-{kind}",
                               annotations={"i": str(i)})
            for i, kind in enumerate(["sig", "sbom", "sig"])]
    for one in made:
        up.put_image(NAME, None, one)
    return made


def referrers(entrepot, subject, query=""):
    answer = entrepot.get(f"/v2/{NAME}/referrers/{subject.digest}{query}")
    assert answer.status == 200, answer
    assert answer.headers["Content-Type"] == content.OCI_INDEX
    document = answer.json()
    assert document["schemaVersion"] == 2
    assert document["mediaType"] == content.OCI_INDEX
    return answer, [m["digest"] for m in document["manifests"]]


def test_referrers_merge_pages_and_are_filtered_by_us(up, entrepot, old,
                                                      signed):
    up.referrers_page = 1
    digests = [s.digest for s in signed]
    answer, found = referrers(entrepot, old)
    assert sorted(found) == sorted(digests)
    assert "OCI-Filters-Applied" not in answer.headers
    asked = up.count(kind="referrers")
    answer, found = referrers(entrepot, old,
                              "?artifactType=application/x-sig")
    assert sorted(found) == sorted([digests[0], digests[2]])
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"
    entry = answer.json()["manifests"][0]
    assert entry["artifactType"] == "application/x-sig"
    assert "i" in entry["annotations"]
    assert up.count(kind="referrers") == asked


def test_referrers_by_the_fallback_tag(up, entrepot, old, signed):
    up.referrers_api = False
    index = content.make_index(signed[:2])
    up.put_image(NAME, old.digest.replace(":", "-"), index)
    _, found = referrers(entrepot, old)
    assert found == [s.digest for s in signed[:2]]


def test_no_referrers_are_an_empty_index(up, entrepot, old):
    assert referrers(entrepot, old)[1] == []
    up.referrers_api = False
    assert referrers(entrepot, content.make_image([1], "other"))[1] == []


def test_referrers_fall_back_on_what_is_held(up, new_entrepot, old, signed):
    entrepot = new_entrepot(up, list="1ms")
    by_tag(entrepot, old)
    client.check_manifest(entrepot.manifest(NAME, signed[1].digest),
                          signed[1])
    up.close()
    answer, found = referrers(entrepot, old)
    assert found == [signed[1].digest]
    assert answer.warning.startswith("299")


def test_referrers_of_a_bad_digest(up, entrepot):
    answer = entrepot.get(f"/v2/{NAME}/referrers/sha256:xyz")
    assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
