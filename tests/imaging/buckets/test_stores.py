"""One suite over GCS, Azure Blob and S3: what is written is found and fetched, and what is not there is named."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from imaging.buckets.store import BucketObject, Buckets
from imaging.errors import InputInvalid, InputMissing, InputTooLarge, InputUnsupported
from tests.stores import Store, the_one

MIB = 2**20


# --- written, found, fetched ---


@pytest.mark.parametrize("size", [0, 1, 300_000, 9 * MIB + 1])
def test_what_is_written_is_found_and_fetched(buckets: Buckets, bucket: str, tmp_path: Path, size: int) -> None:
    content = os.urandom(size)
    (tmp_path / "sent").write_bytes(content)
    buckets.put(bucket, "results/a.png", tmp_path / "sent", "image/png")

    found = the_one(buckets, bucket, "results/a.png")
    assert (found.key, found.size, found.media_type) == ("results/a.png", size, "image/png")
    buckets.fetch(bucket, found, tmp_path / "got.png", bytes_max=size)
    assert (tmp_path / "got.png").read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ["got.png", "sent"]


def test_writing_again_replaces_it(buckets: Buckets, bucket: str, tmp_path: Path) -> None:
    for content in (b"first", b"second and last"):
        buckets.put(bucket, "a.dcm", content, "application/dicom")

    buckets.fetch(bucket, the_one(buckets, bucket, "a.dcm"), tmp_path / "a", bytes_max=100)
    assert (tmp_path / "a").read_bytes() == b"second and last"


@pytest.mark.parametrize(
    "key", ["眼科/张_左眼.png", "a b+c&d=e%20f#g?h.png", "100%.jpeg", "it's (1) [x] ~!@$,;.png", "a/b/c/d.DICOM"]
)
def test_names_of_any_letters_are_kept(buckets: Buckets, bucket: str, tmp_path: Path, key: str) -> None:
    buckets.put(bucket, key, key.encode(), "application/octet-stream")
    folder = key.rpartition("/")[0]

    found = the_one(buckets, bucket, key)
    buckets.fetch(bucket, found, tmp_path / "got", bytes_max=100)
    assert (tmp_path / "got").read_bytes() == key.encode()
    assert not folder or buckets.find(bucket, folder + "/", files_max=9) == [found]


def test_a_folder_gives_its_pictures_in_the_order_a_person_counts(store: Store, buckets: Buckets, bucket: str) -> None:
    names = ["slice_10.png", "slice_9.PNG", "slice_2.jpg", "Slice_1.jpeg", "slice_2b.dcm", "片_3.dicom", "片_20.dicom"]
    for name in names:
        store.put(bucket, f"exams/42/{name}", b"x", "application/octet-stream")
    for other in ("exams/42/report.json", "exams/42/deeper/slice_3.png", "exams/4/slice_1.png", "exams/421.png"):
        store.put(bucket, other, b"x", "text/plain")

    found = buckets.find(bucket, "exams/42/", files_max=7)
    order = ["Slice_1.jpeg", "slice_2.jpg", "slice_2b.dcm", "slice_9.PNG", "slice_10.png", "片_3.dicom", "片_20.dicom"]
    assert [each.key.removeprefix("exams/42/") for each in found] == order
    assert [each.media_type for each in found[:3]] == ["image/jpeg", "image/jpeg", "application/dicom"]
    assert buckets.find(bucket, "exams/42", files_max=7) == found, "without the / it is the same folder"


def test_a_picture_whose_name_says_nothing_is_known_by_its_content_type(
    store: Store, buckets: Buckets, bucket: str
) -> None:
    store.put(bucket, "exam/IM0001", b"x", "application/dicom")
    store.put(bucket, "exam/1.2.840.99", b"x", "image/png; charset=binary")
    store.put(bucket, "exam/LICENSE", b"x", "text/plain")

    found = buckets.find(bucket, "exam/", files_max=9)
    assert [(each.key, each.media_type) for each in found] == [
        ("exam/1.2.840.99", "image/png"),
        ("exam/IM0001", "application/dicom"),
    ]
    assert the_one(buckets, bucket, "exam/IM0001") == found[1]


def test_a_bucket_that_is_there_passes_its_check(buckets: Buckets, bucket: str) -> None:
    buckets.check(bucket)
    buckets.put(bucket, "a.png", b"x", "image/png")
    buckets.check(bucket)


# --- what is not there, or is not what it should be ---


def test_a_missing_bucket_is_named(buckets: Buckets, tmp_path: Path) -> None:
    lost = BucketObject(key="a.png", size=1, media_type="image/png", version="1")
    for location in ("a.png", "exam/"):
        with pytest.raises(InputMissing, match="no-such-bucket") as caught:
            buckets.find("no-such-bucket", location, files_max=1)
        assert caught.value.field == "Input-Bucket-Name"
    with pytest.raises(InputMissing) as caught:
        buckets.put("no-such-bucket", "a.json", b"{}", "application/json")
    assert caught.value.field == "Output-Bucket-Name"
    with pytest.raises(InputMissing):
        buckets.check("no-such-bucket")
    with pytest.raises(InputMissing):
        buckets.fetch("no-such-bucket", lost, tmp_path / "a", bytes_max=9)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("location", ["a.png", "没有.png", "exam/", "exam/deeper", "texts/"])
def test_a_missing_object_or_an_empty_folder_is_named(
    store: Store, buckets: Buckets, bucket: str, location: str
) -> None:
    store.put(bucket, "exam/deeper/still/a.png", b"x", "image/png")
    store.put(bucket, "texts/a.txt", b"x", "text/plain")

    with pytest.raises(InputMissing) as caught:
        buckets.find(bucket, location, files_max=9)
    assert (caught.value.field, caught.value.value) == ("Input-Location", location)


def test_an_object_that_went_away_is_named(store: Store, buckets: Buckets, bucket: str, tmp_path: Path) -> None:
    store.put(bucket, "a.png", b"x", "image/png")
    gone = replace(the_one(buckets, bucket, "a.png"), key="b.png")

    with pytest.raises(InputInvalid, match=r"b\.png") as caught:
        buckets.fetch(bucket, gone, tmp_path / "a", bytes_max=9)
    assert caught.value.field == "Input-Location"
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_is_no_picture_is_not_supported(store: Store, buckets: Buckets, bucket: str) -> None:
    store.put(bucket, "notes.txt", b"x", "text/plain")

    with pytest.raises(InputUnsupported, match="unsupported content type") as caught:
        buckets.find(bucket, "notes.txt", files_max=1)
    assert (caught.value.field, caught.value.value) == ("Input-Location", "notes.txt")


def test_too_many_pictures_or_too_large_ones_are_refused(
    store: Store, buckets: Buckets, bucket: str, tmp_path: Path
) -> None:
    for number in range(4):
        store.put(bucket, f"exam/{number}.png", b"12345", "image/png")

    assert len(buckets.find(bucket, "exam/", files_max=4)) == 4
    with pytest.raises(InputTooLarge, match="3"):
        buckets.find(bucket, "exam/", files_max=3)
    with pytest.raises(InputTooLarge, match="上限 4 字节"):
        buckets.fetch(bucket, the_one(buckets, bucket, "exam/1.png"), tmp_path / "a", bytes_max=4)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("later", [b"other", b"more than before", b"le", b""])
def test_an_object_that_changed_since_it_was_found_is_not_taken(
    store: Store, buckets: Buckets, bucket: str, tmp_path: Path, later: bytes
) -> None:
    store.put(bucket, "a.png", b"first", "image/png")
    found = the_one(buckets, bucket, "a.png")
    buckets.put(bucket, "a.png", later, "image/png")
    (tmp_path / "a.png").write_bytes(b"from before")

    with pytest.raises(InputInvalid, match="已被修改") as caught:
        buckets.fetch(bucket, found, tmp_path / "a.png", bytes_max=100)
    assert caught.value.field == "Input-Location"
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"from before"]


def test_a_folder_that_cannot_be_written_to_is_told_as_it_is(
    store: Store, buckets: Buckets, bucket: str, tmp_path: Path
) -> None:
    store.put(bucket, "a.png", b"first", "image/png")

    with pytest.raises(FileNotFoundError):
        buckets.fetch(bucket, the_one(buckets, bucket, "a.png"), tmp_path / "no" / "a.png", bytes_max=100)
