# SPDX-License-Identifier: Apache-2.0
"""HTTP as strict as it must be: framing, limits, deadlines, early replies."""

import re
import socket
import time

import pytest

import client
import content
from client import SLOW, Connection
from daemon import seconds, wait_until

INNER = "GET /v2/inner HTTP/1.1\r\nHost: x\r\n\r\n"
UPLOAD = "/v2/a/b/blobs/uploads/"
HUGE = "9" * 30


def put(*fields, body=""):
    lines = [f"PUT {UPLOAD} HTTP/1.1", "Host: x", *fields]
    return "\r\n".join(lines) + "\r\n\r\n" + body


def get(*fields, first="GET /v2/ HTTP/1.1", host=True, body=""):
    lines = [first] + (["Host: x"] if host else []) + list(fields)
    return "\r\n".join(lines) + "\r\n\r\n" + body


LENGTH = f"Content-Length: {len(INNER)}"

# What arrives, and the statuses that are right.  After each of them there is
# exactly one answer and the connection ends: INNER is never answered.
REFUSED = {
    "length and coding": (put("Content-Length: 6",
                              "Transfer-Encoding: chunked",
                              body="0\r\n\r\n" + INNER), {400}),
    "two different lengths": (put("Content-Length: 0", LENGTH, body=INNER),
                              {400}),
    "two lengths in a list": (put(f"Content-Length: 0, {len(INNER)}",
                                  body=INNER), {400}),
    "space before the colon": (put(f"Content-Length : {len(INNER)}",
                                   body=INNER), {400}),
    "tab before the colon": (put(f"Content-Length\t: {len(INNER)}",
                                 body=INNER), {400}),
    "signed length": (put("Content-Length: +5", body="12345" + INNER), {400}),
    "negative length": (put("Content-Length: -5", body=INNER), {400}),
    "hexadecimal length": (put("Content-Length: 0x5", body=INNER), {400}),
    "length that overflows": (put(f"Content-Length: {HUGE}", body=INNER),
                              {400, 413}),
    "empty length": (put("Content-Length:", body=INNER), {400}),
    "length with a tail": (put("Content-Length: 5 5", body=INNER), {400}),
    "coding xchunked": (put("Transfer-Encoding: xchunked", body=INNER),
                        {400, 501}),
    "coding identity": (put("Transfer-Encoding: identity", body=INNER),
                        {400, 501}),
    "coding gzip": (put("Transfer-Encoding: gzip", body=INNER), {400, 501}),
    "coding empty": (put("Transfer-Encoding:", body=INNER), {400, 501}),
    "coding twice": (put("Transfer-Encoding: chunked",
                         "Transfer-Encoding: identity",
                         body="0\r\n\r\n" + INNER), {400, 501}),
    "coding chunked, chunked": (put("Transfer-Encoding: chunked, chunked",
                                    body="0\r\n\r\n" + INNER), {400, 501}),
    "coding with a vertical tab": (put("Transfer-Encoding: \x0bchunked",
                                       body="0\r\n\r\n" + INNER), {400, 501}),
    "coding in HTTP/1.0": (
        f"PUT {UPLOAD} HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked"
        f"\r\n\r\n0\r\n\r\n{INNER}", {400, 405, 501, 505}),
    "obs-fold": (get("X-A: b", " c: d"), {400}),
    "first field folded": (get(" X-A: b"), {400}),
    "bare LF": (f"GET /v2/ HTTP/1.1\nHost: x\n\n{INNER}", {400}),
    "bare LF in the end": (f"GET /v2/ HTTP/1.1\r\nHost: x\r\n\n{INNER}",
                           {400}),
    "bare CR in a value": (get("X-A: b\rc"), {400}),
    "NUL in a value": (get("X-A: b\0c"), {400}),
    "NUL in a length": (put("Content-Length: 5\0", body=INNER), {400}),
    "control byte in a value": (get("X-A: b\x01c"), {400}),
    "no Host": (get(host=False), {400}),
    "two Hosts": (get("Host: y"), {400}),
    "Host with a path": (get("Host: a/b", host=False), {400}),
    "HTTP/2.0": (get(first="GET /v2/ HTTP/2.0"), {400, 505}),
    "HTTP/3": (get(first="GET /v2/ HTTP/3"), {400, 505}),
    "HTTP/0.9": ("GET /v2/\r\n\r\n", {400, 505}),
    "h2 preface": ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
    "two spaces": (get(first="GET  /v2/ HTTP/1.1"), {400}),
    "space after the version": (get(first="GET /v2/ HTTP/1.1 "), {400}),
    "tab as a space": (get(first="GET\t/v2/\tHTTP/1.1"), {400}),
    "lower-case version": (get(first="GET /v2/ http/1.1"), {400, 505}),
    "absolute form of another scheme": (get(first="GET ftp://x/v2/ HTTP/1.1"),
                                        {400}),
    "absolute form with a user": (get(first="GET http://u@x/v2/ HTTP/1.1"),
                                  {400}),
    "absolute form without a Host": (
        get(first="GET http://x/v2/ HTTP/1.1", host=False), {400}),
    "asterisk form of GET": (get(first="GET * HTTP/1.1"), {400}),
    "CONNECT": (get(first="CONNECT x:443 HTTP/1.1"), {400, 405, 501}),
    "NUL in the target": (get(first="GET /v2/\0 HTTP/1.1"), {400}),
    "high byte in the target": (get(first="GET /v2/\xe9 HTTP/1.1"), {400}),
    "field without a colon": (get("nonsense"), {400}),
    "field without a name": (get(": x"), {400}),
    "space in a name": (get("X A: b"), {400}),
    "high byte in a name": (get("X-\xe9: b"), {400}),
    "100 KB of fields": (get(*[f"X-{i}: {'a' * 1000}" for i in range(100)]),
                         {400, 431}),
    "one field of 100 KB": (get("X: " + "a" * 100_000), {400, 431}),
    "target of 100 KB": (get(first=f"GET /{'a' * 100_000} HTTP/1.1"),
                         {400, 414, 431}),
    "chunk size 0x5": (put("Transfer-Encoding: chunked",
                           body=f"0x5\r\nabcde\r\n0\r\n\r\n{INNER}"),
                       {400, 405}),
    "chunk size +5": (put("Transfer-Encoding: chunked",
                          body=f"+5\r\nabcde\r\n0\r\n\r\n{INNER}"),
                      {400, 405}),
    "chunk size with a space": (put("Transfer-Encoding: chunked",
                                    body=f" 5\r\nabcde\r\n0\r\n\r\n{INNER}"),
                                {400, 405}),
    "chunk without an end": (put("Transfer-Encoding: chunked",
                                 body=f"5\r\nabcde0\r\n\r\n{INNER}"),
                             {400, 405}),
    "write with a body": (put(LENGTH, body=INNER), {405}),
    "write with a chunked body": (put("Transfer-Encoding: chunked",
                                      body=f"0\r\n\r\n{INNER}"), {405}),
}


def statuses(raw):
    return [int(s) for s in re.findall(rb"HTTP/1\.1 (\d{3}) ", raw)]


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_one_answer_and_the_end(up, entrepot, case):
    sent, allowed = REFUSED[case]
    connection = entrepot.connect()
    try:
        connection.send(sent.encode("latin-1"))
    except ConnectionError:
        pass
    raw = connection.read_all()
    found = statuses(raw)
    assert len(found) == 1 and found[0] in allowed, raw[:400]
    assert b"\r\nConnection: close\r\n" in raw
    assert entrepot.get("/v2/").status == 200
    assert not up.requests()


@pytest.mark.parametrize("first, status", [
    ("GET http://x/v2/ HTTP/1.1", 200),
    ("GET HTTP://other:80/v2/ HTTP/1.1", 200),
    ("GET http://x HTTP/1.1", 404),
    ("OPTIONS * HTTP/1.1", 204)])
def test_other_forms_of_a_target_are_answered(up, entrepot, first, status):
    """RFC 9112, section 3.2: a server must take the absolute form."""
    connection = entrepot.connect()
    connection.send(get(first=first) + get("Connection: close"))
    assert statuses(connection.read_all()) == [status, 200]
    assert not up.requests()


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("fields", [
    LENGTH, "Transfer-Encoding: chunked"])
def test_body_of_a_read_is_never_a_request(entrepot, method, fields):
    connection = entrepot.connect()
    connection.send(get(fields, first=f"{method} /v2/ HTTP/1.1", body=INNER))
    connection.half_close()
    raw = connection.read_all()
    assert len(statuses(raw)) == 1, raw
    assert statuses(raw)[0] in (200, 400)


def test_same_requests_split_at_every_byte(entrepot):
    text = get("Accept: */*", "Connection: close").encode()
    for at in range(1, len(text), 7):
        connection = entrepot.connect()
        connection.send(text[:at])
        time.sleep(0.001)
        connection.send(text[at:])
        assert statuses(connection.read_all()) == [200]


def test_http_1_0_is_answered_and_closed(entrepot):
    connection = entrepot.connect()
    connection.send("GET /v2/ HTTP/1.0\r\nHost: x\r\n\r\n")
    found = statuses(connection.read_all())
    assert len(found) == 1 and found[0] in (200, 505)


@pytest.mark.parametrize("value", ["close", "Close", "x, close"])
def test_connection_close_is_honoured(entrepot, value):
    connection = entrepot.connect()
    response = connection.get("/v2/", {"Connection": value})
    assert response.headers["Connection"] == "close"
    assert connection.is_closed()


def test_keep_alive_over_many_requests(entrepot):
    connection = entrepot.connect()
    for i in range(200):
        path = "/v2/" if i % 3 else "/nowhere"
        assert connection.request("HEAD" if i % 2 else "GET", path).status \
            in (200, 404)
    assert not connection.is_closed(0.05)


# ---- pipelining ----

def test_pipelined_requests_are_answered_in_order(up, entrepot, image):
    up.put_image("library/a", "1", image)
    entrepot.learn("library/a", "1", image)
    connection = entrepot.connect()
    manifest = f"/v2/library/a/manifests/{image.digest}"
    blob = image.layers[0]
    paths = ["/v2/", manifest, f"/v2/library/a/blobs/{blob.digest}",
             "/nowhere", manifest] * 6
    for path in paths:
        connection.send_head("GET", path)
    for path in paths:
        response = connection.read()
        if path == manifest:
            client.check_manifest(response, image)
        elif "blobs" in path:
            client.check_blob(response, blob)
        else:
            assert response.status == (404 if path == "/nowhere" else 200)


def test_pipelined_flood_behind_a_blocked_answer_takes_no_memory(up,
                                                                 entrepot):
    blob = content.make_blob(4 * content.MIB)
    up.put_blob("library/a", blob)
    fault = up.fault(kind="cdn", hold=True)
    connection = entrepot.connect()
    connection.send_head("GET", f"/v2/library/a/blobs/{blob.digest}")
    up.wait_for(kind="cdn")
    before = entrepot.memory()
    flood = (get("X: " + "a" * 3900) * 64).encode()
    sent = 0
    connection.sock.settimeout(0.3)
    try:
        while sent < 64 * content.MIB:
            sent += connection.sock.send(flood)
    except (socket.timeout, ConnectionError):
        pass
    assert sent < 32 * content.MIB
    assert entrepot.memory() - before < 4 * content.MIB
    connection.close()
    fault.release()


# ---- bodies we do not read ----

@pytest.mark.parametrize("method,paths", [
    ("PUT", ["uploads", "blob"]), ("POST", ["manifest", "session", "blob"]),
    ("PATCH", ["uploads", "manifest", "blob"]), ("DELETE", ["uploads"])])
def test_writes_that_an_endpoint_lacks_are_405(up, entrepot, method, paths):
    known = {"uploads": UPLOAD, "manifest": "/v2/a/b/manifests/1",
             "session": "/v2/a/b/blobs/uploads/x",
             "blob": f"/v2/a/b/blobs/sha256:{'0' * 64}"}
    for path in (known[p] for p in paths):
        response = entrepot.request(method, path, body=b"")
        assert (response.status, response.code) == (405, "UNSUPPORTED"), path
    assert not up.requests()


def test_expect_100_is_answered_by_the_final_status(entrepot):
    connection = entrepot.connect()
    connection.send(put("Content-Length: 1000000", "Expect: 100-continue"))
    response = connection.read()
    assert response.status == 405
    assert response.headers["Connection"] == "close"


@pytest.mark.parametrize("coding", ["length", "chunked"])
def test_early_reply_is_seen_by_a_client_that_goes_on_sending(entrepot,
                                                              coding):
    body = b"x" * (1 << 20)
    if coding == "chunked":
        field = "Transfer-Encoding: chunked"
        body = b"100000\r\n" + body + b"\r\n0\r\n\r\n"
    else:
        field = f"Content-Length: {len(body)}"
    connection = entrepot.connect()
    connection.send(put(field))
    for at in range(0, len(body), 65536):
        connection.send(body[at:at + 65536])
        time.sleep(0.002)
    assert connection.read().code == "UNSUPPORTED"
    assert connection.is_closed(3)


def test_endless_body_after_an_early_reply_is_cut(new_entrepot, up):
    entrepot = new_entrepot(up, {"server.deadlines.lingering_close": "300ms"})
    connection = entrepot.connect()
    connection.send(put("Content-Length: 100000000000"))
    assert connection.read().status == 405
    end = time.monotonic() + 5 * SLOW
    with pytest.raises((ConnectionError, socket.timeout)):
        while time.monotonic() < end:
            connection.send(b"x" * 65536)
        pytest.fail("the body was read for ever")


# ---- odd peers ----

def test_tls_hello_on_a_plain_port_is_closed_at_once(entrepot):
    hello = bytes.fromhex("160301020001 0001fc0303".replace(" ", "")) + \
        bytes(range(200))
    connection = entrepot.connect()
    start = time.monotonic()
    connection.send(hello)
    # In words that Go's clients know: "server gave HTTP response to HTTPS
    # client" tells a person what to do, an EOF does not.
    assert connection.read_all().startswith(b"HTTP/1.1 400 ")
    assert time.monotonic() - start < 2 * SLOW


def test_client_that_leaves_while_we_wait_for_upstream(up, entrepot, image):
    up.put_image("library/a", "1", image)
    fault = up.fault(kind="manifest", hold=True)
    connections = [entrepot.connect() for _ in range(4)]
    for connection in connections:
        connection.send_head("GET", "/v2/library/a/manifests/1")
    up.wait_for(kind="manifest")
    for i, connection in enumerate(connections):
        (connection.reset if i % 2 else connection.close)()
    # A FIN may be half a close: those two go with their answers.
    wait_until(lambda: entrepot.client_sockets() == 2, 3)
    fault.release()
    entrepot.wait_idle()
    client.check_manifest(entrepot.manifest("library/a", "1"), image)


def test_half_closed_client_still_gets_its_answer(up, entrepot, image):
    up.put_image("library/a", "1", image)
    fault = up.fault(kind="manifest", hold=True)
    connection = entrepot.connect()
    connection.send_head("GET", "/v2/library/a/manifests/1")
    connection.half_close()
    up.wait_for(kind="manifest")
    time.sleep(0.05)
    fault.release()
    client.check_manifest(connection.read(), image)


# ---- limits and deadlines ----

def test_head_just_below_the_limit_is_read(entrepot):
    connection = entrepot.connect()
    pad = "a" * 1000
    response = connection.get("/v2/", {f"X-{i}": pad for i in range(60)})
    assert response.status == 200


def test_slow_head_ends_at_an_absolute_deadline(up, new_entrepot):
    entrepot = new_entrepot(up, {"server.deadlines.head": "400ms"})
    start = time.monotonic()
    connection = entrepot.connect()
    try:
        for byte in get("X-Long: " + "a" * 2000):
            connection.send(byte)
            time.sleep(0.02)
            if time.monotonic() - start > 3 * SLOW:
                pytest.fail("a slow head is read for ever")
    except ConnectionError:
        pass
    assert statuses(connection.read_all()) in ([], [408])
    assert time.monotonic() - start >= 0.35


def test_idle_connection_is_closed_without_a_word(up, new_entrepot):
    entrepot = new_entrepot(up, {"server.deadlines.idle": "300ms"})
    fresh, used = entrepot.connect(), entrepot.connect()
    start = time.monotonic()
    assert used.get("/v2/").status == 200
    for connection in (fresh, used):
        assert connection.read_all() == b""
    assert 0.2 < time.monotonic() - start < 2 * SLOW


def test_client_that_takes_nothing_is_cut(up, new_entrepot):
    entrepot = new_entrepot(up, {"server.deadlines.write_stall": "400ms"})
    blob = content.make_blob(24 * content.MIB)
    up.put_blob("library/a", blob)
    download = entrepot.download("library/a", blob.digest, rcvbuf=8192)
    download.start()
    entrepot.wait_stored(blob, 10)
    start = time.monotonic()
    entrepot.wait_idle()
    assert time.monotonic() - start < 3 * SLOW
    assert len(download.cut()) < blob.size


def test_slow_client_that_takes_something_is_not_cut(up, new_entrepot):
    entrepot = new_entrepot(up, {"server.deadlines.write_stall": seconds(1.5)})
    blob = content.make_blob(6 * content.MIB)
    up.put_blob("library/a", blob)
    download = entrepot.download("library/a", blob.digest, rcvbuf=65536)
    for _ in range(4):
        download.read(900_000)
        time.sleep(0.6 * SLOW)
    assert download.finish().body == blob.data


def test_connections_past_the_limit_get_a_clear_503(up, new_entrepot):
    entrepot = new_entrepot(up, {"server.max_connections": 4})
    kept = [entrepot.connect() for _ in range(4)]
    for connection in kept:
        assert connection.get("/v2/").status == 200
    extra = Connection(entrepot.address)
    try:
        extra.send_head("GET", "/v2/")
    except ConnectionError:
        pass
    raw = extra.read_all()
    assert statuses(raw) == [503] and b"connections" in raw
    kept.pop().close()

    def works():
        try:
            return entrepot.get("/v2/").status == 200
        except (ConnectionError, client.Closed):
            return False
    end = time.monotonic() + 3 * SLOW
    while not works():
        assert time.monotonic() < end
        time.sleep(0.02)
