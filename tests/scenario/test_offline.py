# SPDX-License-Identifier: Apache-2.0
"""With the network gone, everything that was pulled can still be pulled."""

import time

import pytest

import client
import content
from client import SLOW

NAME = "library/a"


@pytest.fixture
def index():
    return content.make_index([content.make_image([100_000, 5000], "one"),
                               content.make_image([90_000], "two")])


@pytest.fixture
def pulled(up, new_entrepot, index):
    """A daemon that holds the first platform of `index`."""
    entrepot = new_entrepot(up, check="always")
    up.put_image(NAME, "1", index)
    client.Docker(entrepot.address).pull(NAME, "1", index)
    for blob in index.children[0].blobs:
        entrepot.wait_stored(blob)
    return entrepot


def pull_all_ways(entrepot, index):
    client.Docker(entrepot.address).pull(NAME, "1", index)
    client.Containerd(entrepot.address).pull(NAME, "1", index)
    client.Podman(entrepot.address).pull(NAME, "1", index)


def test_pull_with_the_upstream_refusing(up, pulled, index):
    up.close()
    pull_all_ways(pulled, index)
    answer = pulled.manifest(NAME, "1")
    assert answer.verdict == "stale" and answer.warning.startswith("299")
    by_digest = pulled.manifest(NAME, index.digest)
    assert by_digest.verdict == "hit" and by_digest.warning is None


def test_pull_with_the_upstream_mute(up, new_entrepot, index):
    entrepot = new_entrepot(up, check="always", freshness="300ms")
    up.put_image(NAME, "1", index)
    client.Docker(entrepot.address).pull(NAME, "1", index)
    for blob in index.children[0].blobs:
        entrepot.wait_stored(blob)
    up.mute()
    up.registry.cut()
    start = time.monotonic()
    pull_all_ways(entrepot, index)
    assert time.monotonic() - start < 2 * SLOW
    up.mute(False)


def test_restart_without_a_network(up, pulled, index):
    up.close()
    pulled.stop()
    start = time.monotonic()
    pulled.start()
    assert time.monotonic() - start < 3 * SLOW
    assert pulled.get("/readyz").status == 200
    pull_all_ways(pulled, index)


def test_first_start_without_a_network(up, new_entrepot, image):
    up.put_image(NAME, "1", image)
    up.close()
    entrepot = new_entrepot(up, stale_hold="10ms")
    assert entrepot.get("/readyz").status == 200
    answer = entrepot.manifest(NAME, "1")
    assert answer.status in (502, 503, 504)
    assert "docker.io" in answer.message
    up.open()
    time.sleep(0.2 * SLOW)
    client.Docker(entrepot.address).pull(NAME, "1", image)


def test_start_with_a_name_that_does_not_resolve(new_entrepot):
    entrepot = new_entrepot(start=False)
    entrepot.config.upstream("docker.io",
                             ["http://nowhere.invalid:5000"], resolve="500ms")
    entrepot.start()
    answer = entrepot.manifest(NAME, "1")
    assert answer.status in (502, 503, 504)
    assert "nowhere.invalid" in answer.message


def test_what_was_not_pulled_is_an_outage_not_a_404(up, pulled, index):
    up.close()
    other = index.children[1]
    for answer in (pulled.manifest(NAME, other.digest),
                   pulled.blob(NAME, other.layers[0].digest),
                   pulled.manifest(NAME, "2"),
                   pulled.manifest("library/never", "1")):
        assert answer.status in (502, 503, 504), answer
        assert "docker.io" in answer.message


def test_offline_option_serves_what_is_held_and_never_asks(up, pulled, index):
    pulled.config.upstream("docker.io", offline=True)
    pulled.restart()
    up.forget()
    pull_all_ways(pulled, index)
    for answer in (pulled.manifest(NAME, "2"),
                   pulled.blob(NAME, index.children[1].layers[0].digest)):
        assert answer.status in (404, 503)
        assert "offline" in answer.message
    accepted = up.registry.accepted
    assert not up.requests() and up.registry.accepted == accepted


def test_offline_by_reload(up, pulled, index):
    pulled.config.upstream("docker.io", offline=True)
    pulled.reload()
    up.forget()
    pull_all_ways(pulled, index)
    assert not up.requests()


def test_partial_blob_is_finished_when_the_network_is_back(up, new_entrepot):
    entrepot = new_entrepot(up, retries=2)
    blob = content.make_blob(3 * content.MIB, "broken")
    up.put_blob(NAME, blob)
    up.fault(kind="cdn", times=1, stall_after=2 * content.MIB)
    download = entrepot.download(NAME, blob.digest).read(2 * content.MIB)
    up.close()
    download.cut()
    assert not entrepot.stored(blob.digest)
    up.open()
    time.sleep(0.3 * SLOW)
    client.check_blob(entrepot.blob(NAME, blob.digest), blob)
    assert up.bytes_sent(blob.digest) == blob.size
