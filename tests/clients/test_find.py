# SPDX-License-Identifier: Apache-2.0
"""docker search and podman search, over what is hosted and what is held."""

import json

import pytest
import test_dockerd
import test_podman
from mirror import PORT

import content

docker = test_dockerd.docker
podman = test_podman.podman
HERE = f"127.0.0.1:{PORT}"


@pytest.fixture
def stocked(mirror, untouched):
    """It holds docker.io/library/small and hosts team/smallest, 1 and 2."""
    daemon = mirror.daemon
    empty_tar = content.blob_of(bytes(1024))
    image = content.make_image([empty_tar], "search")
    for blob in image.blobs:
        assert daemon.request(
            "POST", f"/v2/team/smallest/blobs/uploads/?digest={blob.digest}",
            None, blob.data).status == 201
    for tag in ("1", "2"):
        assert daemon.request("PUT", f"/v2/team/smallest/manifests/{tag}",
                              {"Content-Type": image.media_type},
                              image.data).status == 201
    assert daemon.manifest("library/small", "1").status == 200
    return mirror


def test_docker_search(stocked, docker):
    def search(*words):
        return docker.docker("search", "--format", "{{.Name}}",
                             *words).stdout.split()

    assert search(f"{HERE}/small") == ["docker.io/library/small",
                                       "team/smallest"]
    assert search("--limit", "1", f"{HERE}/smallest") == ["team/smallest"]
    assert search(f"{HERE}/nowhere") == []
    docker.pull(f"{HERE}/team/smallest:2")
    for name in search(f"{HERE}/library"):
        docker.pull(f"{HERE}/{name}:1")


def test_podman_search(stocked, podman):
    def search(*words):
        return json.loads(podman("search", "--tls-verify=false", "--format",
                                 "json", *words).stdout)

    assert [one["Name"] for one in search(f"{HERE}/small")] == \
        [f"{HERE}/docker.io/library/small", f"{HERE}/team/smallest"]
    assert [one["Name"] for one in search("--limit", "1",
                                          f"{HERE}/smallest")] == \
        [f"{HERE}/team/smallest"]
    everything = {one["Name"] for one in search(f"{HERE}/")}
    assert everything == {f"{HERE}/docker.io/library/small",
                          f"{HERE}/team/smallest"}
    tags, = search("--list-tags", f"{HERE}/team/smallest")
    assert tags["Tags"] == ["1", "2"]
    podman("pull", "--tls-verify=false", f"{HERE}/team/smallest:1")
