# SPDX-License-Identifier: Apache-2.0
"""Upstreams behind an HTTP proxy, by configuration and by the environment."""

import base64

import pytest

import client
from proxy import Proxy

NAME = "library/a"


@pytest.fixture
def proxy():
    one = Proxy()
    yield one
    one.close()


@pytest.fixture
def started(new_entrepot):
    """started(up, {variable: value}, option=...): a daemon with that
    environment."""
    def make(up, env=None, **options):
        entrepot = new_entrepot(up, start=False, **options)
        entrepot.env.update(env or {})
        return entrepot.start()
    return make


def pull(entrepot, up, image, prefix=""):
    up.put_image(NAME, "1", image)
    client.Podman(entrepot.address).pull(prefix + NAME, "1", image)


def all_of(up):
    return {f"{s.host}:{s.port}" for s in up.servers}


def test_configured_proxy_carries_everything(up, started, proxy, image):
    pull(started(up, proxy=proxy.url), up, image)
    assert proxy.targets() == all_of(up)
    assert {method for method, _, _ in proxy.asked} <= {"GET", "HEAD"}
    assert len(proxy.asked) == up.count()


def test_environments_proxy_and_its_exceptions(new_up, started, proxy, image):
    hub, quay = new_up(), new_up(host="127.0.0.2")
    entrepot = started({"docker.io": hub, "quay.io": quay},
                       {"http_proxy": proxy.url, "NO_PROXY": "127.0.0.2"})
    pull(entrepot, hub, image)
    pull(entrepot, quay, image, "quay.io/")
    assert proxy.targets() == all_of(hub)


def test_upper_case_http_proxy_is_not_read(up, started, proxy, image):
    pull(started(up, {"HTTP_PROXY": proxy.url}), up, image)
    assert not proxy.asked


def test_none_overrides_the_environment(up, started, proxy, image):
    pull(started(up, {"all_proxy": proxy.url}, proxy="none"), up, image)
    assert not proxy.asked


def test_https_goes_through_a_tunnel(new_up, started, proxy, authority, image):
    up = new_up(tls=authority.server_context())
    pull(started(up, {"HTTPS_PROXY": proxy.url}, ca=str(authority.cert)), up,
         image)
    assert proxy.targets() == all_of(up)
    assert {method for method, _, _ in proxy.asked} == {"CONNECT"}


def test_proxys_password_is_for_the_proxy_alone(up, started, proxy, image):
    entrepot = started(
        up, {"http_proxy": proxy.url.replace("//", "//joe:hush@")})
    pull(entrepot, up, image)
    secret = base64.b64encode(b"joe:hush").decode()
    assert {s for _, _, s in proxy.asked} == {f"Basic {secret}"}
    log = entrepot.whole_log()
    assert "hush" not in log and secret not in log


def test_proxy_that_is_away_is_an_outage(up, started, proxy, image):
    up.put_image(NAME, "1", image)
    proxy.close()
    entrepot = started(up, proxy=proxy.url)
    answer = entrepot.manifest(NAME, "1")
    assert answer.status == 503 and "docker.io" in answer.json()["errors"][0]["message"]
    assert f"port {proxy.port}" in answer.body.decode()
    assert up.count() == 0
