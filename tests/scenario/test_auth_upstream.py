# SPDX-License-Identifier: Apache-2.0
"""Logging in at upstreams: tokens, odd challenges, and where secrets go."""

import base64
import json
import os
import time

import pytest

import client
import content
from client import SLOW, all_at_once
from daemon import seconds, wait_until

NAME = "library/a"
LOGIN = {"username": "joe", "password": "s3cret"}
USERS = {"joe": "s3cret"}


@pytest.fixture
def stored(up, image):
    return up.put_image(NAME, "1", image)


def pull(entrepot, image, name=NAME):
    client.Podman(entrepot.address).pull(name, "1", image)


def basic(user="joe", password="s3cret"):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# ---- Bearer ----

def test_anonymous_token_is_fetched_once_per_scope(up, entrepot, stored):
    up.require_login()
    pull(entrepot, stored)
    [token] = up.requests("token")
    assert token.query["scope"] == [f"repository:{NAME}:pull"]
    assert token.query["service"] == ["registry.test"]
    assert "authorization" not in token.headers
    up.put_image("library/b", "1", content.make_image([10], "b"))
    assert entrepot.manifest("library/b", "1").status == 200
    assert up.count(kind="token") == 2


@pytest.mark.parametrize("fields", [
    ("token",), ("access_token",), ("token", "access_token")])
def test_either_field_of_the_token_answer(up, entrepot, stored, fields):
    up.require_login(fields=fields)
    pull(entrepot, stored)


def test_access_token_is_preferred(up, entrepot, stored):
    auth = up.require_login(fields=("access_token",))
    issue = auth.answer

    def answer(request):
        status, headers, body = issue(request)
        return status, headers, json.dumps(
            {"token": "wrong", **json.loads(body)}).encode()

    auth.answer = answer
    pull(entrepot, stored)


@pytest.mark.parametrize("expires_in", [None, 0, 5, 59])
def test_token_without_or_with_a_short_life_is_kept_60_s(up, new_entrepot,
                                                         stored, expires_in):
    entrepot = new_entrepot(up, check="always")
    up.require_login(expires_in=expires_in)
    pull(entrepot, stored)
    time.sleep(0.1)
    for _ in range(3):
        assert entrepot.manifest(NAME, "1").status == 200
    assert up.count(kind="token") == 1


def test_one_refresh_at_a_time(up, entrepot):
    up.require_login()
    images = [content.make_image([2000], i) for i in range(8)]
    for i, one in enumerate(images):
        up.put_image(NAME, str(i), one)
    fault = up.fault(kind="token", hold=True)
    waiting = [client.Background(entrepot.manifest, NAME, str(i))
               for i in range(8)]
    up.wait_for(kind="token")
    time.sleep(0.15)
    fault.release()
    for one, image in zip(waiting, images):
        client.check_manifest(one.join(), image)
    assert up.count(kind="token") == 1


def test_token_that_expires_midway_is_refreshed_once(up, new_entrepot,
                                                     stored):
    entrepot = new_entrepot(up, check="always")
    up.require_login()
    pull(entrepot, stored)
    up.auth.revoke()
    up.forget()
    assert entrepot.manifest(NAME, "1").verdict == "revalidated"
    assert up.count(kind="token") == 1


def test_token_that_is_good_for_few_requests(up, entrepot):
    up.require_login(uses=2)
    image = content.make_image([1000] * 6, "many")
    up.put_image(NAME, "1", image)
    pull(entrepot, image)


def test_second_401_is_denied_and_not_repeated(up, entrepot, stored):
    up.require_login(uses=0)
    answer = entrepot.manifest(NAME, "1")
    assert (answer.status, answer.code) == (403, "DENIED")
    assert "private or does not exist" in answer.message
    assert "WWW-Authenticate" not in answer.headers
    assert up.count(kind="token") <= 4


@pytest.mark.parametrize("status", [401, 403])
def test_token_server_that_refuses_is_denied(up, entrepot, stored, status):
    up.require_login()
    up.fault(kind="token", status=status)
    answer = entrepot.manifest(NAME, "1")
    assert (answer.status, answer.code) == (403, "DENIED")


@pytest.mark.parametrize("status", [500, 503])
def test_token_server_that_fails_is_an_outage(up, entrepot, stored, status):
    up.require_login()
    fault = up.fault(kind="token", status=status)
    answer = entrepot.manifest(NAME, "1")
    assert answer.status in (502, 503, 504)
    fault.clear()
    wait_until(lambda: entrepot.manifest(NAME, "1").status == 200, 3)


def test_insufficient_scope_is_asked_for(up, entrepot, stored):
    up.require_login(
        challenge=lambda scope, problem: [
            f'Bearer realm="{up.realm}",service="registry.test"'
            + (f',scope="{scope}",error="insufficient_scope"'
               if problem else "")])
    pull(entrepot, stored)


# ---- odd challenges ----

def odd(up):
    realm, scope = up.realm, f"repository:{NAME}:pull"
    return {
        "lower case, spaces": [
            f'bearer  realm="{realm}" , service="s" , scope="{scope}"'],
        "unquoted service": [
            f'Bearer realm="{realm}",service=gcr.io,scope="{scope}"'],
        "realm only": [f'Bearer realm="{realm}"'],
        "two headers": ['Basic realm="x"', f'Bearer realm="{realm}"'],
        "two in one": [f'Basic realm="x, y", Bearer realm="{realm}"'],
        "unknown first": ["Negotiate", "Digest a=b, c=\"d\"",
                          f'Bearer realm="{realm}"'],
        "escapes": [f'Bearer service="a\\"b, Basic",realm="{realm}"'],
        "query in the realm": [f'Bearer realm="{realm}?x=1&y=2"'],
        "upper-case parameters": [f'BEARER REALM="{realm}",SERVICE="s"'],
    }


@pytest.mark.parametrize("case", [
    "lower case, spaces", "unquoted service", "realm only", "two headers",
    "two in one", "unknown first", "escapes", "query in the realm",
    "upper-case parameters"])
def test_odd_challenge(up, entrepot, stored, case):
    lines = odd(up)[case]
    up.require_login(challenge=lambda scope, problem: lines)
    pull(entrepot, stored)
    if case == "query in the realm":
        [token] = up.requests("token")
        assert token.query["x"] == ["1"] and token.query["y"] == ["2"]


def test_challenge_with_a_scope_that_is_no_repository(up, entrepot, stored):
    up.require_login(scope="aws")
    pull(entrepot, stored)
    assert up.requests("token")[0].query["scope"] == ["aws"]


def test_challenge_only_at_the_ping(up, entrepot, stored):
    up.require_login(on="ping")
    pull(entrepot, stored)


def test_401_without_any_challenge_is_denied(up, entrepot, stored):
    up.require_login(challenge=lambda scope, problem: [])
    assert entrepot.manifest(NAME, "1").status == 403


@pytest.mark.parametrize("line", [
    "Bearer", 'Bearer realm=""', 'Bearer realm="nonsense"',
    'Bearer realm="ftp://127.0.0.1/token"', 'Bearer realm="http://"', "\x00",
    'Bearer realm="http://127.0.0.1:1/token'])
def test_challenge_that_leads_nowhere_is_no_crash(up, entrepot, stored, line):
    up.require_login(challenge=lambda scope, problem: [line])
    assert entrepot.manifest(NAME, "1").status in (403, 502, 503)


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b"{}", b'{"token": 5}', b'{"token": ""}',
    b'{"token": "a\\r\\nX: y"}', b'{"token": "' + b"x" * 200_000 + b'"}',
    b'{"token": "ok", "expires_in": "soon"}'],
    ids=lambda body: body[:40].decode())
def test_token_answer_that_is_nonsense(up, entrepot, stored, body):
    up.require_login()
    up.fault(kind="token", body=body)
    assert entrepot.manifest(NAME, "1").status in (403, 502, 503)
    up.clear_faults()
    wait_until(lambda: entrepot.manifest(NAME, "1").status == 200, 3)


# ---- credentials ----

def private(up, mode="bearer", **more):
    return up.require_login(mode, users=USERS, private={NAME: {"joe"}}, **more)


def test_user_and_password_go_to_the_token_server(up, new_entrepot, stored):
    entrepot = new_entrepot(up, private="share", **LOGIN)
    private(up)
    pull(entrepot, stored)
    with_login = [r for r in up.requests("token")
                  if r.headers.get("authorization") == basic()]
    assert with_login
    for request in up.requests(("manifest", "blob")):
        assert basic() != request.headers.get("authorization")


def test_basic_registry(up, new_entrepot, stored):
    entrepot = new_entrepot(up, private="share", **LOGIN)
    up.require_login("basic", users=USERS)
    pull(entrepot, stored)
    assert not up.requests("token")


def test_password_file(up, new_entrepot, stored, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    entrepot = new_entrepot(up, private="share", username="joe",
                            password_file=str(secret))
    private(up)
    pull(entrepot, stored)


@pytest.mark.parametrize("key", ["https://index.docker.io/v1/", "docker.io"])
def test_docker_config(up, new_entrepot, stored, tmp_path, key):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {key: {"auth": basic()[6:]}}}))
    entrepot = new_entrepot(up, private="share", docker_config=str(path))
    private(up)
    pull(entrepot, stored)


def test_identity_token_is_posted(up, new_entrepot, stored, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {
        "identitytoken": "refresh-1"}}}))
    entrepot = new_entrepot(up, private="share", docker_config=str(path))
    private(up, refresh={"refresh-1": "joe"})
    pull(entrepot, stored)
    assert any(r.method == "POST" for r in up.requests("token"))


def helper(folder, answer, log=None):
    """A docker-credential-test program in `folder`."""
    folder.mkdir(exist_ok=True)
    path = folder / "docker-credential-test"
    lines = ["#!/bin/sh", "read server"]
    if log:
        lines.append(f'echo "$1 $server" >> {log}')
    lines.append(f"echo '{json.dumps(answer)}'")
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_credential_helper(up, new_entrepot, stored, tmp_path):
    log = tmp_path / "helper.log"
    entrepot = new_entrepot(up, start=False, private="share",
                            credential_helper="test")
    entrepot.env["PATH"] = helper(tmp_path / "bin", {
        "ServerURL": "x", "Username": "joe", "Secret": "s3cret"}, log)
    entrepot.start()
    private(up)
    pull(entrepot, stored)
    assert log.read_text().startswith("get ")


def test_wrong_password_is_denied(up, new_entrepot, stored):
    entrepot = new_entrepot(up, username="joe", password="wrong")
    private(up)
    answer = entrepot.manifest(NAME, "1")
    assert (answer.status, answer.code) == (403, "DENIED")


def test_secrets_are_in_no_log(up, new_entrepot, stored):
    entrepot = new_entrepot(up, private="share", **LOGIN)
    private(up)
    pull(entrepot, stored)
    entrepot.stop()
    log = entrepot.log(whole=True)
    assert "s3cret" not in log and basic()[6:] not in log
    assert "token-joe" not in log


# ---- where secrets go ----

def test_credentials_never_go_to_a_foreign_realm(new_up, new_entrepot,
                                                 image):
    up = new_up(separate_tokens=True, token_host="127.0.0.2")
    up.put_image(NAME, "1", image)
    entrepot = new_entrepot(up, **LOGIN)
    private(up)
    answer = entrepot.manifest(NAME, "1")
    assert answer.status == 502 and "token_realms" in answer.message
    for request in up.requests("token"):
        assert "authorization" not in request.headers
        assert b"s3cret" not in request.body


def test_token_realms_allows_a_foreign_realm(new_up, new_entrepot, image):
    up = new_up(separate_tokens=True, token_host="127.0.0.2")
    up.put_image(NAME, "1", image)
    entrepot = new_entrepot(up, private="share",
                            token_realms=["127.0.0.2"], **LOGIN)
    private(up)
    pull(entrepot, image)


def test_anonymous_tokens_come_from_a_foreign_realm(new_up, new_entrepot,
                                                    image):
    up = new_up(separate_tokens=True, token_host="127.0.0.2")
    up.put_image(NAME, "1", image)
    up.require_login()
    pull(new_entrepot(up), image)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_authorization_is_dropped_at_the_cdn(up, new_entrepot, stored,
                                             status):
    up.redirect_status = status
    entrepot = new_entrepot(up, private="share", **LOGIN)
    private(up)
    pull(entrepot, stored)
    assert up.count(kind="cdn") and not up.leaked


def test_manifest_redirect_is_followed_without_authorization(new_up,
                                                             new_entrepot,
                                                             image):
    up, other = new_up(), new_up()
    up.require_login()
    up.put_image(NAME, "1", image)
    other.put_image(NAME, "1", image)
    up.fault(kind="manifest", when=lambda r: "authorization" in r.headers,
             redirect=lambda r: other.url + r.path)
    entrepot = new_entrepot(up)
    client.check_manifest(entrepot.manifest(NAME, "1"), image)
    assert other.requests("manifest")
    for request in other.requests():
        assert "authorization" not in request.headers


def test_challenge_after_a_redirect_is_the_new_hosts(new_up, new_entrepot,
                                                     image):
    up, other = new_up(), new_up()
    for one in (up, other):
        one.put_image(NAME, "1", image)
        one.require_login()
    up.fault(kind="manifest", when=lambda r: "authorization" in r.headers,
             redirect=lambda r: other.url + r.path)
    entrepot = new_entrepot(up)
    client.check_manifest(entrepot.manifest(NAME, "1"), image)
    assert other.count(kind="token") == 1


def test_redirect_to_a_forbidden_address_is_not_followed(up, entrepot,
                                                         stored):
    up.fault(kind="blob", redirect="http://169.254.169.254/latest/meta-data")
    answer = entrepot.blob(NAME, stored.layers[0].digest)
    assert answer.status == 502
    assert "169.254.169.254" in answer.message


def test_404_where_a_manifest_redirect_leads_is_upstreams_own(
        new_up, new_entrepot, image):
    up, other = new_up(), new_up()
    up.fault(kind="manifest", redirect=lambda r: other.url + r.path)
    entrepot = new_entrepot(up, negative="1ms")
    for reference in ("1", image.digest):
        answer = entrepot.manifest(NAME, reference)
        assert (answer.status, answer.code) == (404, "MANIFEST_UNKNOWN")
    other.put_image(NAME, "1", image)
    time.sleep(0.02)
    client.check_manifest(entrepot.manifest(NAME, "1"), image)


@pytest.mark.parametrize("where", ["rule", "target"])
def test_only_the_registrys_own_refusal_is_a_denial(new_up, new_entrepot,
                                                    image, where):
    """With max_denied 0 a denial is the last word; what our own rules refuse,
    or a redirect's target, is an outage and leaves what is held."""
    up, other = new_up(), new_up()
    up.put_image(NAME, "1", image)
    entrepot = new_entrepot(up, check="always", max_denied="0s")
    client.check_manifest(entrepot.manifest(NAME, "1"), image)
    other.fault(status=403)
    target = {"rule": lambda r: "http://169.254.169.254" + r.path,
              "target": lambda r: other.url + r.path}[where]
    fault = up.fault(kind="manifest", redirect=target)
    for _ in range(2):
        answer = entrepot.manifest(NAME, "1")
        client.check_manifest(answer, image)
        assert answer.verdict == "stale" and answer.warning
    fault.clear()
    up.fault(kind="manifest", status=403)
    wait_until(lambda: entrepot.manifest(NAME, "1").status == 403, 5)


def test_https_is_never_downgraded(new_up, new_entrepot, authority, image):
    up, plain = new_up(tls=authority.server_context()), new_up(cdn=False)
    for one in (up, plain):
        one.put_image(NAME, "1", image)
    entrepot = new_entrepot(up, ca=str(authority.cert))
    up.fault(kind="blob", redirect=lambda r: plain.url + r.path)
    assert entrepot.blob(NAME, image.layers[0].digest).status == 502
    assert not plain.requests()


# ---- TLS ----

def test_custom_ca(new_up, new_entrepot, authority, image):
    up = new_up(tls=authority.server_context())
    up.put_image(NAME, "1", image)
    up.require_login()
    pull(new_entrepot(up, ca=str(authority.cert)), image)
    refused = new_entrepot(up).manifest(NAME, "1")
    assert refused.status in (502, 503)
    assert "certificate" in refused.message.lower()
    assert '"ca"' in refused.message


def test_insecure(new_up, new_entrepot, authority, image):
    up = new_up(tls=authority.server_context())
    up.put_image(NAME, "1", image)
    pull(new_entrepot(up, insecure=True), image)


def test_client_certificate(new_up, new_entrepot, authority, image):
    up = new_up(tls=authority.server_context(client_ca=authority.cert))
    up.put_image(NAME, "1", image)
    cert, key = authority.issue("mirror", client=True)
    pull(new_entrepot(up, ca=str(authority.cert), client_cert=str(cert),
                      client_key=str(key)), image)
    assert new_entrepot(up, ca=str(authority.cert)).manifest(
        NAME, "1").status in (502, 503)


# ---- public and private ----

def test_public_content_is_for_all(up, new_entrepot, stored):
    entrepot = new_entrepot(up, **LOGIN)
    up.require_login(users=USERS)
    pull(entrepot, stored)


def test_private_content_is_denied_by_default(up, new_entrepot, stored):
    entrepot = new_entrepot(up, **LOGIN)
    private(up)
    for path in ("manifests/1", f"manifests/{stored.digest}",
                 f"blobs/{stored.layers[0].digest}"):
        for _ in range(2):
            answer = entrepot.get(f"/v2/{NAME}/{path}")
            assert (answer.status, answer.code) == (403, "DENIED"), path
            assert "private" in answer.message and "share" in answer.message


def test_private_blob_is_not_given_through_another_repository(
        up, new_entrepot, stored):
    entrepot = new_entrepot({"docker.io": up}, private="share", **LOGIN)
    private(up)
    pull(entrepot, stored)
    blob = stored.layers[0]
    entrepot.wait_stored(blob)
    decoy = content.make_image([blob], "decoy")
    up.put_manifest("library/decoy", decoy, "1")
    assert entrepot.manifest("library/decoy", "1").status == 200
    answer = entrepot.blob("library/decoy", blob.digest)
    assert (answer.status, answer.code) == (404, "BLOB_UNKNOWN")


def test_mark_is_repeated_and_follows(up, new_entrepot, stored):
    entrepot = new_entrepot(up, public_check=seconds(0.3), check="always",
                            **LOGIN)
    up.require_login(users=USERS)
    pull(entrepot, stored)
    up.auth.private[NAME] = {"joe"}
    up.auth.revoke()
    time.sleep(0.4 * SLOW)
    wait_until(lambda: entrepot.manifest(NAME, "1").status == 403, 5)
    del up.auth.private[NAME]
    time.sleep(0.4 * SLOW)
    wait_until(lambda: entrepot.manifest(NAME, "1").status == 200, 5)


def test_no_mark_and_no_answer_is_503(up, new_entrepot, stored):
    entrepot = new_entrepot(up, **LOGIN)
    private(up)
    fault = up.fault(kind="token",
                     when=lambda r: "authorization" not in r.headers,
                     status=500)
    assert entrepot.manifest(NAME, "1").status == 503
    fault.clear()
    wait_until(lambda: entrepot.manifest(NAME, "1").status == 403, 5)


def test_many_clients_at_once_with_a_login(up, new_entrepot):
    entrepot = new_entrepot(up, private="share", **LOGIN)
    private(up)
    image = content.make_image([40_000] * 5, "many")
    up.put_image(NAME, "1", image)
    all_at_once(lambda _: pull(entrepot, image), range(6))
    for blob in image.blobs:
        assert up.bytes_sent(blob.digest) == blob.size
