# SPDX-License-Identifier: Apache-2.0
"""Names and addresses: name servers that are dead, late or lie, and which
addresses an upstream may send us to."""

import os
import subprocess
import time

import pytest

import client
import content
from client import SLOW, Background
from daemon import seconds
from nameserver import NameServer
from upstream import Upstream

NAME = "org/img"


@pytest.fixture
def dns(tmp_path):
    server = NameServer(tmp_path)
    yield server
    server.close()


@pytest.fixture
def named(dns, new_entrepot):
    """named({upstream's name: (host, Upstream)}, {"key.path": value}, ...): a
    daemon that finds its upstreams through the scripted name server."""
    def make(ups, config=None, **options):
        entrepot = new_entrepot(options=config, start=False, wrap=dns.wrap)
        for name, (host, up) in ups.items():
            entrepot.config.upstream(
                name, [f"http://{host}:{up.registry.port}"], **options)
        return entrepot.start()
    return make


def pull(entrepot, image, prefix=""):
    client.Podman(entrepot.address).pull(prefix + NAME, "1", image)


def test_the_namespace_reaches_only_the_scripted_server(dns):
    dns.names["one.test"] = ["127.0.0.9"]
    done = subprocess.run([*dns.wrap, "getent", "ahostsv4", "one.test"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "127.0.0.9" in done.stdout, done
    assert dns.count("one.test") >= 1


def test_upstream_by_name(dns, named, up, image):
    dns.names["registry.test"] = ["127.0.0.1"]
    up.put_image(NAME, "1", image)
    pull(named({"docker.io": ("registry.test", up)}), image)
    assert dns.count("registry.test") <= 2


def test_name_that_does_not_exist(dns, named, up, image):
    entrepot = named({"docker.io": ("registry.test", up)})
    answer = entrepot.manifest(NAME, "1")
    assert answer.status in (502, 503, 504)
    assert "registry.test" in answer.message
    up.put_image(NAME, "1", image)
    dns.names["registry.test"] = ["127.0.0.1"]
    time.sleep(0.2 * SLOW)
    pull(entrepot, image)


def test_second_address_is_tried(dns, named, new_up, image):
    up = new_up(host="127.0.0.3")
    up.put_image(NAME, "1", image)
    dns.names["registry.test"] = ["127.0.0.2", "127.0.0.3"]
    pull(named({"docker.io": ("registry.test", up)}), image)


@pytest.mark.parametrize("delay", [None, 4])
def test_dead_or_late_name_server_delays_nobody_else(dns, named, new_up,
                                                     image, delay):
    sick, well = new_up(), new_up(separate_tokens=True)
    well.put_image(NAME, "1", image)
    well.require_login()
    dns.names.update({"sick.test": ["127.0.0.1"], "well.test": ["127.0.0.1"]})
    dns.delay["sick.test"] = delay and delay * SLOW
    entrepot = named({"docker.io": ("sick.test", sick),
                      "quay.io": ("well.test", well)}, resolve=seconds(1.5),
                     retries=2)
    stuck = [Background(entrepot.manifest, NAME, str(i)) for i in range(12)]
    blobs = [Background(entrepot.blob, NAME, f"sha256:{i:064x}")
             for i in range(12)]
    time.sleep(0.1)
    start = time.monotonic()
    pull(entrepot, image, "quay.io/")
    assert time.monotonic() - start < 1.3 * SLOW
    for one in stuck:
        answer = one.join()
        assert answer.status in (502, 503, 504)
        assert "sick.test" in answer.message
    for one in blobs:
        answer = one.join()
        if delay is not None and answer.status == 404:
            continue  # a blob is asked for again, by then with success
        assert answer.status in (502, 503, 504)
        assert "sick.test" in answer.message
    assert dns.count("sick.test") <= 8 * SLOW


def test_many_dead_names_leave_room_for_good_ones(dns, named, new_up, image):
    well = new_up()
    well.put_image(NAME, "1", image)
    dns.names["well.test"] = ["127.0.0.1"]
    ups = {"quay.io": ("well.test", well)}
    for i in range(8):
        dns.delay[f"dead{i}.test"] = None
        ups[f"dead{i}.example"] = (f"dead{i}.test", well)
    entrepot = named(ups, resolve=seconds(1.5))
    for _ in range(2):
        stuck = [Background(entrepot.manifest, f"dead{i}.example/a", "1")
                 for i in range(8)]
        time.sleep(0.05)
        for one in stuck:
            one.join()
    stuck = [Background(entrepot.manifest, f"dead{i}.example/a", "1")
             for i in range(8)]
    time.sleep(0.05)
    start = time.monotonic()
    pull(entrepot, image, "quay.io/")
    assert time.monotonic() - start < 1.2 * SLOW
    for one in stuck:
        one.join()


def test_last_good_addresses_serve_while_a_lookup_is_late(dns, named, up,
                                                          image):
    dns.names["registry.test"] = ["127.0.0.1"]
    up.put_image(NAME, "1", image)
    entrepot = named({"docker.io": ("registry.test", up)},
                     {"fetch.resolve_keep": seconds(0.2)}, check="always",
                     freshness=seconds(3))
    pull(entrepot, image)
    time.sleep(0.3 * SLOW)
    dns.delay["registry.test"] = None
    up.registry.cut()
    blob = content.make_blob(5000, "later")
    up.put_blob(NAME, blob)
    start = time.monotonic()
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    assert entrepot.manifest(NAME, "1").verdict == "revalidated"
    assert time.monotonic() - start < 1.5 * SLOW


@pytest.mark.parametrize("address", ["169.254.169.254", "0.0.0.0",
                                     "224.0.0.1", "255.255.255.255"])
def test_name_with_a_forbidden_address_is_not_dialled(dns, named, new_up,
                                                      image, address):
    sick, well = new_up(), new_up()
    for up in (sick, well):
        up.put_image(NAME, "1", image)
    dns.names.update({"sick.test": [address], "well.test": ["127.0.0.1"]})
    entrepot = named({"docker.io": ("sick.test", sick),
                      "quay.io": ("well.test", well)})
    start = time.monotonic()
    answer = entrepot.manifest(NAME, "1")
    assert answer.status in (502, 503)
    assert address in answer.message
    assert time.monotonic() - start < 1 * SLOW
    assert not sick.requests()
    pull(entrepot, image, "quay.io/")


# ---- redirects into more private places ----

@pytest.fixture
def private_address():
    """An RFC 1918 address of this machine, on its loopback interface."""
    address = f"10.213.{os.getpid() >> 8 & 255}.{os.getpid() & 255 or 1}"
    subprocess.run(["ip", "address", "replace", f"{address}/32", "dev", "lo"],
                   check=True)
    yield address
    subprocess.run(["ip", "address", "delete", f"{address}/32", "dev", "lo"],
                   check=True)


def test_redirect_to_a_more_private_address_is_refused(
        private_address, new_entrepot, image):
    up = Upstream(host=private_address, cdn_host="127.0.0.1")
    try:
        up.put_image(NAME, "1", image)
        entrepot = new_entrepot(up)
        blob = image.layers[0]
        assert entrepot.manifest(NAME, "1").status == 200
        answer = entrepot.blob(NAME, blob.digest)
        assert answer.status == 502 and "127.0.0.1" in answer.message
        assert not up.requests("cdn")
        entrepot.config.upstream("docker.io", redirect_allow=["127.0.0.0/8"])
        entrepot.reload()
        time.sleep(0.2 * SLOW)
        client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    finally:
        up.stop()


def test_realm_at_a_more_private_address_is_refused(
        private_address, new_entrepot, image):
    up = Upstream(host=private_address, token_host="127.0.0.1",
                  separate_tokens=True)
    try:
        up.put_image(NAME, "1", image)
        up.require_login()
        answer = new_entrepot(up).manifest(NAME, "1")
        assert answer.status == 502 and "redirect_allow" in answer.message
        assert not up.requests("token")
    finally:
        up.stop()
