# SPDX-License-Identifier: Apache-2.0
"""
What every client must be able to do through the mirror, told once.  A client
here has pull(reference), check(reference, image), which looks at what was
pulled, and forget(), after which it has nothing.
"""

from mirror import (assert_all_hits, assert_each_blob_once,
                    assert_each_manifest_once, assert_served, digests_of)


def pull_cold(mirror, registry, puller, reference, image):
    """The first pull: right content, each thing asked of upstream once."""
    at_mirror, at_registry = mirror.mark(), registry.mark()
    puller.pull(reference)
    puller.check(reference, image)
    lines, asked = mirror.since(at_mirror), registry.since(at_registry)
    assert_served(lines, digests_of(image), {"miss", "joined"})
    assert_each_blob_once(asked, digests_of(image))
    assert_each_manifest_once(asked)


def pull_warm(mirror, registry, puller, reference, image, by_tag="hit"):
    """
    A later pull by a client that has nothing: all of it from the cache.
    `by_tag` "hit": upstream is asked nothing; "revalidated": nothing but
    HEADs of the tag.  Returns the access lines.
    """
    puller.forget()
    at_mirror, at_registry = mirror.mark(), registry.mark()
    puller.pull(reference)
    puller.check(reference, image)
    lines, asked = mirror.since(at_mirror), registry.since(at_registry)
    assert_served(lines, digests_of(image), {"hit"})
    assert_all_hits(lines, by_tag)
    if by_tag == "revalidated":
        assert asked and all(r.is_check for r in asked), asked
    else:
        assert not asked, asked
    return lines


def pull_without_upstream(mirror, registry, puller, reference, image):
    """Upstream is gone, `check` is always: stale by tag, else hits."""
    registry.stop()
    puller.forget()
    at_mirror = mirror.mark()
    puller.pull(reference)
    puller.check(reference, image)
    assert_all_hits(mirror.since(at_mirror), "stale")


def by_digest(reference, image):
    """The same image of that repository, by its digest."""
    return f"{reference.rpartition(':')[0]}@{image.digest}"
