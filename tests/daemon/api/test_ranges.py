"""Parts of a clip, as players ask for them."""

import pytest

from daemon.api.ranges import ranged

CONTENT = bytes(range(100))


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [("bytes=0-9", 0, 9), ("bytes=90-", 90, 99), ("bytes=-5", 95, 99), ("bytes=50-500", 50, 99), ("bytes=-500", 0, 99)],
)
def test_a_range_gives_that_part(asked: str, first: int, last: int) -> None:
    answer = ranged(CONTENT, asked, "video/mp4")
    assert (answer.status_code, answer.body) == (206, CONTENT[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/100"
    assert answer.headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize(
    "asked", [None, "", "bytes=", "bytes=-", "bytes=9-0", "bytes=0-1,5-6", "lines=0-9", "bytes=a-b"]
)
def test_none_several_and_nonsense_give_the_whole(asked: str | None) -> None:
    answer = ranged(CONTENT, asked, "video/mp4")
    assert (answer.status_code, answer.body, answer.headers["accept-ranges"]) == (200, CONTENT, "bytes")


@pytest.mark.parametrize(("content", "asked"), [(CONTENT, "bytes=100-"), (b"", "bytes=0-"), (b"", "bytes=-5")])
def test_a_range_behind_the_end_is_refused_with_the_size(content: bytes, asked: str) -> None:
    answer = ranged(content, asked, "video/mp4")
    assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(content)}")
    assert b"RANGE_NOT_SATISFIABLE" in answer.body
