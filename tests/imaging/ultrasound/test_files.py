"""The folders of the ultrasound gateway: what may be read, what is kept under which name, answers, samples, cleaning.

Every trap of the original server is here with what it did: a client's name as a path, overwriting, any file read,
answers of one name over each other, something that is no picture.
"""

import json
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from imaging.errors import InputForbidden, InputInvalid, InputMissing, InputTooLarge, NotConfigured
from imaging.ultrasound.files import Roots, UltrasoundFiles
from imaging.ultrasound.memory import Usage
from imaging.ultrasound.models import Prediction
from imaging.ultrasound.record import Record
from imaging.ultrasound.terms import Task
from tests.ultrasound import record, save
from tests.waiting import DEADLINE_S

GREY = np.full((30, 40, 3), 90, np.uint8)
PNG = cv2.imencode(".png", GREY)[1].tobytes()
JPEG = cv2.imencode(".jpg", GREY)[1].tobytes()
USAGE = Usage(memory_mb=123.456, gpu_used_mb=0.0, gpu_reserved_mb=0.0)
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def roots(tmp_path: Path) -> Roots:
    made = Roots(data=tmp_path / "data", uploads=tmp_path / "api_in", outputs=tmp_path / "api_out")
    for folder in (made.data, made.uploads, made.outputs):
        folder.mkdir()
    return made


@pytest.fixture
def files(roots: Roots) -> UltrasoundFiles:
    return UltrasoundFiles(roots, bytes_max=1_000_000, pixels_max=5_000_000)


@pytest.fixture
def upload(files: UltrasoundFiles, tmp_path: Path) -> Callable[..., dict[str, object]]:
    """upload("a.png") -> what take() answers."""

    def take(name: str, content: bytes = PNG) -> dict[str, object]:
        received = tmp_path / f"received-{threading.get_ident()}"
        received.write_bytes(content)
        try:
            return files.take(received, name)
        finally:
            received.unlink(missing_ok=True)

    return take


def kept(roots: Roots) -> list[str]:
    return sorted(path.name for path in roots.uploads.iterdir())


# --- uploads ---


def test_an_upload_is_kept_under_its_name_with_what_the_seed_answers(
    upload: Callable[..., dict[str, object]], files: UltrasoundFiles
) -> None:
    answer = upload("肝脏 01.png")

    assert answer == {
        "img_name": "肝脏 01.png",
        "img_path_relative": "api_in/肝脏 01.png",
        "img_size_bytes": len(PNG),
        "img_dimensions": [40, 30],
        "img_format": "png",
    }
    assert list(answer) == ["img_name", "img_path_relative", "img_size_bytes", "img_dimensions", "img_format"]
    assert files.resolve(str(answer["img_path_relative"])).read_bytes() == PNG


@pytest.mark.parametrize(
    ("name", "kept_as"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("/absolute/a.png", "a.png"),
        ("..\\..\\windows\\a.png", "a.png"),
        ("...", "image.png"),
        ("", "image.png"),
        (".hidden.png", "hidden.png"),
        ("a\0b\n.png", "a_b_.png"),
        ("a;rm -rf $HOME.png", "a_rm -rf _HOME.png"),
        ("photo.jpg", "photo.png"),
        ("photo", "photo.png"),
        ("PHOTO.PNG", "PHOTO.png"),
        ("超" * 200 + ".png", "超" * 40 + ".png"),
    ],
)
def test_a_clients_name_never_becomes_a_path(
    upload: Callable[..., dict[str, object]], roots: Roots, name: str, kept_as: str
) -> None:
    """The original wrote to api_in/<name> whatever it was."""
    assert upload(name)["img_name"] == kept_as
    assert kept(roots) == [kept_as]
    assert not any(path.suffix == ".png" for path in roots.uploads.parent.iterdir())


def test_nothing_is_overwritten(upload: Callable[..., dict[str, object]], roots: Roots) -> None:
    """The original lost the first of two pictures of one name."""
    other = cv2.imencode(".png", GREY + 9)[1].tobytes()

    first, second = upload("a.png"), upload("a.png", other)

    assert first["img_name"] == "a.png"
    assert second["img_name"] != "a.png"
    assert (roots.uploads / "a.png").read_bytes() == PNG
    assert (roots.uploads / str(second["img_name"])).read_bytes() == other


def test_many_at_once_under_one_name_are_all_kept(files: UltrasoundFiles, roots: Roots, tmp_path: Path) -> None:
    contents = [cv2.imencode(".png", np.full((8, 8), level, np.uint8))[1].tobytes() for level in range(16)]

    def take(number: int) -> None:
        received = tmp_path / f"r{number}"
        received.write_bytes(contents[number])
        files.take(received, "same.png")

    threads = [threading.Thread(target=take, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)

    assert sorted(path.read_bytes() for path in roots.uploads.iterdir()) == sorted(contents)


def bomb() -> bytes:
    """A small PNG that says of itself that it has 100 million pixels."""
    import zlib

    header = (10_000).to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    chunk = b"IHDR" + header
    return PNG[:8] + len(header).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big") + PNG[33:]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", InputInvalid),
        (b"#!/bin/sh\necho no picture\n", InputInvalid),
        (b"GIF89a" + b"\0" * 100, InputInvalid),
        (b"\0" * 128 + b"DICM" + b"\0" * 100, InputInvalid),
        (PNG[:-30], InputInvalid),
        (JPEG[:-20], InputInvalid),
        (PNG[:60] + b"\0\0\0\0" + PNG[64:], InputInvalid),
        (bomb(), InputTooLarge),
        (PNG + b"\0" * 1_000_000, InputTooLarge),
    ],
    ids=["empty", "script", "gif", "dicom", "cut png", "cut jpeg", "damaged png", "bomb", "too many bytes"],
)
def test_what_is_no_whole_picture_is_refused_and_not_kept(
    upload: Callable[..., dict[str, object]], roots: Roots, content: bytes, kind: type[InputInvalid]
) -> None:
    """The original saved first and looked afterwards."""
    with pytest.raises(kind) as caught:
        upload("x.png", content)

    assert caught.value.field == "file"
    assert "x.png" in caught.value.message
    assert "received" not in caught.value.message
    assert kept(roots) == []


def test_the_suffix_follows_the_content(upload: Callable[..., dict[str, object]]) -> None:
    assert upload("a.png", JPEG)["img_format"] == "jpg"
    assert upload("b.jpeg", JPEG)["img_name"] == "b.jpeg"


# --- what a record may name ---


def test_pictures_are_found_by_every_form_that_clients_use(files: UltrasoundFiles, roots: Roots) -> None:
    inside = save(roots.data / "classification" / "Appendix" / "imgs" / "cls_00000.png", GREY)
    mine = save(roots.uploads / "a.png", GREY)

    assert files.resolve("classification/Appendix/imgs/cls_00000.png") == inside.resolve()
    assert files.resolve("data/classification/Appendix/imgs/cls_00000.png") == inside.resolve()
    assert files.resolve("./api_in/a.png") == mine.resolve()
    # The seed's own way: the server's whole path.
    assert files.resolve(str(mine)) == mine.resolve()
    assert files.resolve(str(inside)) == inside.resolve()


@pytest.mark.parametrize(
    "named",
    [
        "/etc/passwd",
        "../secret.png",
        "api_in/../secret.png",
        "api_in/../../secret.png",
        "data/classification/../../secret.png",
        "classification/../../secret.png",
        "secret.png",
        "data/secret.png",
        "api_out/segment/a/a.json",
        "data",
        "api_in/link.png",
        "api_in/folder/deep.png",
        "api_in/.underway",
        "",
        "a\0b",
        "api_inside/a.png",
    ],
)
def test_nothing_outside_the_two_folders_is_read(files: UltrasoundFiles, roots: Roots, named: str) -> None:
    """The original opened whatever the request named."""
    outside = save(roots.uploads.parent / "secret.png", GREY)
    save(roots.uploads.parent / "elsewhere" / "deep.png", GREY)
    (roots.uploads / "link.png").symlink_to(outside)
    (roots.uploads / "folder").symlink_to(roots.uploads.parent / "elsewhere")
    (roots.uploads / ".underway").write_bytes(PNG)
    sibling = roots.uploads.parent / "api_inside"
    save(sibling / "a.png", GREY)

    with pytest.raises(InputForbidden) as caught:
        files.resolve(named)

    assert caught.value.field == "img_path_relative"


def test_a_sibling_folder_with_a_longer_name_is_outside(files: UltrasoundFiles, roots: Roots) -> None:
    with pytest.raises(InputForbidden):
        files.resolve(str(save(roots.uploads.parent / "api_in2" / "a.png", GREY)))


@pytest.mark.parametrize(
    "named", ["api_in/no.png", "segmentation/CAMUS/imgs/no.png", "api_in", "api_in/" + "x" * 300, "api_in/loop"]
)
def test_what_is_not_there_is_missing(files: UltrasoundFiles, roots: Roots, named: str) -> None:
    (roots.uploads / "loop").symlink_to(roots.uploads / "loop")

    with pytest.raises(InputMissing):
        files.resolve(named)


def test_without_a_data_folder_that_is_told(roots: Roots) -> None:
    files = UltrasoundFiles(Roots(data=None, uploads=roots.uploads, outputs=roots.outputs), bytes_max=1, pixels_max=1)

    with pytest.raises(NotConfigured, match="data_dir"):
        files.resolve("classification/Appendix/imgs/a.png")


@pytest.mark.parametrize("inner", ["uploads", "outputs"])
def test_a_folder_that_is_cleaned_may_not_lie_in_another(roots: Roots, inner: str) -> None:
    """Cleaning the uploads would delete the site's data."""
    named = {"data": roots.data, "uploads": roots.uploads, "outputs": roots.outputs} | {inner: roots.data / "x"}

    with pytest.raises(NotConfigured, match="data_dir"):
        UltrasoundFiles(Roots(**named), bytes_max=1, pixels_max=1)


# --- samples ---


def test_a_sample_is_a_whole_record_of_a_real_picture(files: UltrasoundFiles, roots: Roots) -> None:
    path = save(roots.data / "segmentation" / "KidneyUS" / "imgs" / "k_1.png", GREY)
    save(roots.data / "segmentation" / "KidneyUS" / "masks" / "k_1.png", GREY[..., 0])

    sample = files.sample("segmentation", "KidneyUS", rng=Random(1))

    assert sample == {
        "img_name": "k_1.png",
        "img_path_relative": "segmentation/KidneyUS/imgs/k_1.png",
        "img_size_bytes": path.stat().st_size,
        "img_dimensions": [40, 30],
        "img_format": "png",
        "task": "segmentation",
        "dataset_name": "KidneyUS",
        "organ": "KidneyUS",
        "data_partition_group": "public_all",
        "mask_name": None,
        "mask_path_relative": None,
        "seg_target_info": None,
        "class_label_index": None,
        "class_label_name": None,
    }
    assert files.resolve(str(sample["img_path_relative"])) == path.resolve()
    # It can be sent back as it is: the original refused its own null.
    assert Record(**sample).echo() == sample


@pytest.mark.parametrize("layout", ["imgs", "0", "1"])
def test_classification_samples_come_from_class_folders_or_imgs(
    files: UltrasoundFiles, roots: Roots, layout: str
) -> None:
    save(roots.data / "classification" / "private_Breast_Luminal" / layout / "a.JPG", GREY)

    sample = files.sample("classification", "Breast_luminal", rng=Random(1))

    assert sample["img_path_relative"] == f"classification/private_Breast_Luminal/{layout}/a.JPG"
    assert (sample["dataset_name"], sample["img_format"]) == ("private_Breast_luminal", "jpg")


def test_samples_vary_over_classes_and_pictures_and_follow_the_generator(files: UltrasoundFiles, roots: Roots) -> None:
    for label in "01":
        for number in range(4):
            save(roots.data / "classification" / "Appendix" / label / f"{number}.png", GREY)

    def names(seed: int) -> list[str]:
        rng = Random(seed)
        return [files.sample("classification", "Appendix", rng=rng)["img_path_relative"] for _ in range(40)]

    assert len(set(names(1))) == 8
    assert names(1) == names(1)


def test_what_is_no_picture_is_passed_by(files: UltrasoundFiles, roots: Roots, tmp_path: Path) -> None:
    folder = roots.data / "segmentation" / "CAMUS" / "imgs"
    good = save(folder / "good.png", GREY)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    (folder / ".hidden.png").write_bytes(PNG)
    (folder / "link.png").symlink_to(save(tmp_path / "outside.png", GREY))

    found = {files.sample("segmentation", "CAMUS", rng=Random(seed))["img_name"] for seed in range(20)}

    assert found == {good.name}


@pytest.mark.parametrize(
    ("task", "dataset", "kind"),
    [
        ("detection", "CAMUS", InputInvalid),
        ("segmentation", "Atlantis", InputMissing),
        ("segmentation", "../..", InputMissing),
        ("segmentation", "DDTI", InputMissing),
        ("classification", "CAMUS", InputMissing),
        ("segmentation", "BUSI", InputMissing),
    ],
)
def test_a_sample_of_what_is_not_there_is_told(
    files: UltrasoundFiles, roots: Roots, task: str, dataset: str, kind: type[InputInvalid]
) -> None:
    (roots.data / "segmentation" / "BUSI" / "imgs").mkdir(parents=True)

    with pytest.raises(kind) as caught:
        files.sample(task, dataset, rng=Random(1))

    assert caught.value.field == ("task" if task == "detection" else "dataset_name")
    if task == "detection":
        assert caught.value.message == "不支持的task类型"


# --- answers ---


def segmented(mask: np.ndarray | None = None) -> Prediction:
    found = np.zeros((30, 40), np.uint8) if mask is None else mask
    return Prediction(task=Task.SEGMENTATION, dataset="CAMUS", organ="Heart", mask=found, seconds=0.123456)


def classified() -> Prediction:
    return Prediction(
        task=Task.CLASSIFICATION,
        dataset="Appendix",
        organ="Appendix",
        probability=(0.25, 0.75),
        prediction=1,
        labels=("normal", "abnormal"),
        labels_zh=("正常", "异常"),
        seconds=0.02,
    )


def test_a_segmentation_answers_and_leaves_what_the_seed_says(files: UltrasoundFiles, roots: Roots) -> None:
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 7:30] = 255
    sent = record("segmentation", "CAMUS", "api_in/心脏.png")

    answer = files.write(Record(**sent), segmented(mask), USAGE)

    relative = str(answer["mask_path_relative"])
    assert answer == sent | {
        "mask_name": "心脏_mask.png",
        "mask_path_relative": relative,
        "mask_path_absolute": str((roots.outputs / relative.removeprefix("api_out/")).absolute()),
        "inference_time_sec": 0.1235,
        "memory_usage_mb": 123.46,
        "gpu_memory_usage_mb": 0.0,
        "gpu_memory_reserved_mb": 0.0,
        "json_path": answer["json_path"],
    }
    assert relative.startswith("api_out/segment/")
    assert Path(str(answer["json_path"])).is_absolute()
    stored = cv2.imread(str(answer["mask_path_absolute"]), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, mask)
    on_disk = json.loads(Path(str(answer["json_path"])).read_text(encoding="utf-8"))
    assert on_disk == {key: value for key, value in answer.items() if key != "json_path"}
    assert Path(str(answer["json_path"])).name == "心脏.json"


def test_a_classification_answers_probability_and_prediction(files: UltrasoundFiles) -> None:
    sent = record("classification", "Appendix", "classification/Appendix/imgs/cls_00000.jpg")

    answer = files.write(Record(**sent), classified(), USAGE)

    assert answer["probability"] == [0.25, 0.75]
    assert answer["prediction"] == 1
    assert {key: answer[key] for key in sent} == sent
    assert "mask_path_absolute" not in answer
    assert "/classification/" in str(answer["json_path"])


def test_answers_of_equal_names_never_collide(files: UltrasoundFiles) -> None:
    """The original wrote both to api_out/segment/<stem>.json."""
    full = np.full((30, 40), 255, np.uint8)
    one, two = (files.write(Record(**record("segmentation", "CAMUS")), segmented(mask), USAGE) for mask in (None, full))

    assert one["mask_path_relative"] != two["mask_path_relative"]
    assert one["json_path"] != two["json_path"]
    assert not cv2.imread(str(one["mask_path_absolute"]), cv2.IMREAD_UNCHANGED).any()
    assert cv2.imread(str(two["mask_path_absolute"]), cv2.IMREAD_UNCHANGED).all()


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "..\\evil.png", "." * 9, "长" * 200])
def test_the_name_in_a_record_never_becomes_a_path(files: UltrasoundFiles, roots: Roots, name: str) -> None:
    sent = record("segmentation", "CAMUS") | {"img_name": name}

    answer = files.write(Record(**sent), segmented(), USAGE)

    assert Path(str(answer["mask_path_absolute"])).resolve().is_relative_to(roots.outputs.resolve())
    assert answer["img_name"] == name


def test_an_answer_that_cannot_be_written_leaves_nothing(roots: Roots) -> None:
    (roots.outputs / "segment").write_text("a file in the way", encoding="utf-8")
    files = UltrasoundFiles(roots, bytes_max=1, pixels_max=1)

    with pytest.raises(OSError, match="segment"):
        files.write(Record(**record("segmentation", "CAMUS")), segmented(), USAGE)

    assert [path.name for path in roots.outputs.rglob("*")] == ["segment"]


# --- records ---


@pytest.mark.parametrize(
    "empties",
    [
        {},
        {"mask_name": "", "mask_path_relative": "", "seg_target_info": {}, "class_label_index": 0}
        | {"class_label_name": ""},
        {"seg_target_info": "", "class_label_index": ""},
        {
            "mask_name": "m.png",
            "seg_target_info": {"nodule": 255},
            "class_label_index": 3,
            "class_label_name": "Luminal B",
        },
    ],
    ids=["the seed's nulls", "the original clients' empties", "empty texts", "filled"],
)
def test_what_is_not_known_may_be_null_or_empty_and_is_echoed_as_it_came(empties: dict[str, object]) -> None:
    sent = record("classification", "Appendix") | empties

    assert Record(**sent).echo() == sent


def test_what_is_left_out_is_echoed_as_the_original_would() -> None:
    sent = dict(list(record("segmentation", "CAMUS").items())[:9])

    assert Record(**sent).echo() == sent | {
        "mask_name": "",
        "mask_path_relative": "",
        "seg_target_info": None,
        "class_label_index": None,
        "class_label_name": None,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"img_dimensions": [0, 10]},
        {"img_dimensions": [10]},
        {"img_dimensions": [10, 10, 3]},
        {"img_dimensions": ["wide", 10]},
        {"img_size_bytes": -1},
        {"img_name": ""},
        {"img_path_relative": "x" * 2000},
        {"task": None},
        {"seg_target_info": {"x": float("nan")}},
        {"seg_target_info": {"x": "y" * 20_000}},
        {"seg_target_info": [1]},
        {"class_label_index": "one"},
        {"mask_name": 5},
    ],
    ids=str,
)
def test_a_record_that_is_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Record(**(record("segmentation", "CAMUS") | wrong))


# --- cleaning ---


def aged(path: Path, days: float) -> Path:
    at = (NOW - timedelta(days=days)).timestamp()
    for each in [*path.rglob("*"), path]:
        os.utime(each, (at, at))
    return path


def test_old_uploads_and_answers_go_and_nothing_else(files: UltrasoundFiles, roots: Roots) -> None:
    old, new = aged(save(roots.uploads / "old.png", GREY), 40), aged(save(roots.uploads / "new.png", GREY), 1)
    site = aged(save(roots.data / "segmentation" / "CAMUS" / "imgs" / "a.png", GREY), 400)
    answer = files.write(Record(**record("segmentation", "CAMUS")), segmented(), USAGE)
    folder = aged(Path(str(answer["json_path"])).parent, 40)
    stranger = aged(save(roots.outputs / "notes.png", GREY), 400)

    gone = files.clean(NOW, keep=timedelta(days=30), bytes_max=10**9)

    assert gone == 2
    assert not old.exists()
    assert not folder.exists()
    assert new.exists()
    assert site.exists()
    assert stranger.exists()


def test_the_oldest_go_while_it_is_too_much(files: UltrasoundFiles, roots: Roots) -> None:
    paths = [roots.uploads / f"{days}.png" for days in (1, 2, 3, 4)]
    for days, path in enumerate(paths, start=1):
        path.write_bytes(b"x" * 1000)
        aged(path, days)

    gone = files.clean(NOW, keep=timedelta(days=30), bytes_max=2500)

    assert gone == 2
    assert [path.name for path in paths if path.exists()] == ["1.png", "2.png"]


def test_an_answer_on_its_way_goes_only_when_nobody_can_be_at_it_any_more(files: UltrasoundFiles, roots: Roots) -> None:
    underway = roots.outputs / "segment" / ".0123"
    underway.mkdir(parents=True)
    (underway / "part").write_bytes(b"x" * 5000)
    aged(underway, 1)

    assert files.clean(NOW, keep=timedelta(days=30), bytes_max=100) == 0
    aged(underway, 31)
    assert files.clean(NOW, keep=timedelta(days=30), bytes_max=100) == 1


def test_the_folder_of_whoever_receives_uploads_is_left_alone(files: UltrasoundFiles, roots: Roots) -> None:
    receiving = roots.uploads / ".receiving"
    (receiving / "draft").mkdir(parents=True)
    (receiving / "draft" / "part").write_bytes(b"x" * 5000)
    aged(receiving, 400)

    assert files.clean(NOW, keep=timedelta(days=30), bytes_max=100) == 0
    assert (receiving / "draft" / "part").exists()


def test_a_link_is_deleted_and_not_what_it_points_to(files: UltrasoundFiles, roots: Roots, tmp_path: Path) -> None:
    far = tmp_path / "far"
    save(far / "a.png", GREY)
    link = roots.outputs / "segment"
    link.mkdir()
    (link / "x").symlink_to(far)
    os.utime(link / "x", (0, 0), follow_symlinks=False)

    assert files.clean(NOW, keep=timedelta(days=30), bytes_max=10**9) == 1
    assert (far / "a.png").exists()


def test_cleaning_where_nothing_is_yet(tmp_path: Path) -> None:
    roots = Roots(data=None, uploads=tmp_path / "in", outputs=tmp_path / "out")

    assert UltrasoundFiles(roots, bytes_max=1, pixels_max=1).clean(NOW, keep=timedelta(1), bytes_max=1) == 0
