"""Ultrasound at the control plane: the seed's wire, without the traps of the server that it was taken from."""

import asyncio
import sqlite3
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from daemon.domain.errors import UltrasoundBusy
from daemon.health import Health
from daemon.imaging.backend import Site
from daemon.imaging.jobs.accesses import Who
from daemon.imaging.ultrasound.desk import UltrasoundDesk
from daemon.imaging.ultrasound.setup import ultrasound_desk_of
from daemon.storage.database import Unit
from imaging.ultrasound.files import Roots, UltrasoundFiles
from imaging.ultrasound.models import Prediction, Ultrasound, UltrasoundRules
from imaging.ultrasound.record import Record
from tests import rules
from tests.daemon.conftest import DaemonOn
from tests.daemon.harness import Daemon
from tests.daemon.imaging import ultrasound_room as room
from tests.waiting import DEADLINE_S, until

WHO = Who(name="clerk", address="127.0.0.1")
PREDICT = ("/segment2/", "/segment/", "/segment2", "/segment", "/imaging/ultrasound/predict")
UPLOAD = ("/upload", "/imaging/ultrasound/upload")
SAMPLE = ("/random_sample/", "/random_sample", "/imaging/ultrasound/random_sample")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Keys of the section: models for everything, and the site's data."""
    models = room.models(tmp_path_factory.mktemp("models"))
    return models | {"data_dir": str(room.write_data(tmp_path_factory.mktemp("data")))}


@pytest.fixture
async def daemon(daemon_on: DaemonOn, tmp_path: Path, site: dict[str, str]) -> AsyncIterator[Daemon]:
    async with daemon_on(cameras={}, imaging=room.settings(tmp_path, **site)) as running:
        await loaded(running)
        yield running


async def loaded(daemon: Daemon) -> None:
    await until(lambda: "ultrasound" in daemon.parts.context.health.components)


async def upload(
    daemon: Daemon, content: bytes, name: str = "scan.png", *, path: str = "/upload", **fields: str
) -> httpx.Response:
    return await daemon.http.post(path, files={"file": (name, content, "image/png")}, data=fields)


async def uploaded(daemon: Daemon, content: bytes, name: str = "scan.png") -> dict[str, Any]:
    answer = await upload(daemon, content, name)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def kept(daemon: Daemon) -> list[str]:
    """What lies below the uploads, but for empty folders."""
    folder = daemon.settings.imaging.ultrasound.upload_dir
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def accesses(daemon: Daemon) -> list[tuple[str, str]]:
    with sqlite3.connect(daemon.settings.database.ledger) as connection:
        rows = connection.execute("SELECT action, outcome FROM imaging_accesses ORDER BY seq").fetchall()
    connection.close()
    return [(action, outcome) for action, outcome in rows]


# --- in and out ---


async def test_an_upload_is_answered_with_what_the_next_request_says_of_it(daemon: Daemon) -> None:
    content = room.encoded(room.patched(300, 200))
    for number, path in enumerate(UPLOAD):
        answer = await upload(daemon, content, f"肾 {number}.png", path=path, user="test")

        assert answer.status_code == 200, answer.text
        assert answer.json() == {
            "img_name": f"肾_{number}.png",
            "img_path_relative": f"api_in/肾_{number}.png",
            "img_size_bytes": len(content),
            "img_dimensions": [300, 200],
            "img_format": "png",
        }
        assert (daemon.settings.imaging.ultrasound.upload_dir / f"肾_{number}.png").read_bytes() == content


async def test_the_example_of_the_seed_is_taken_as_it_stands(daemon: Daemon) -> None:
    for path in PREDICT:
        answer = await daemon.http.post(path, json=room.SEED)

        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert {name: body[name] for name in room.SEED} == room.SEED
        assert len(body["probability"]) == 2
        assert body["prediction"] == int(np.argmax(body["probability"]))
        assert sum(body["probability"]) == pytest.approx(1, abs=1e-4)
        assert body["inference_time_sec"] > 0
        assert body["memory_usage_mb"] > 10
        assert (body["gpu_memory_usage_mb"], body["gpu_memory_reserved_mb"]) == (0, 0)
        assert Path(body["json_path"]).is_file()


EMPTY = {
    "mask_name": "",
    "mask_path_relative": "",
    "seg_target_info": {},
    "class_label_index": 0,
    "class_label_name": "",
}


async def test_what_is_not_known_may_be_null_or_empty_or_left_out(daemon: Daemon) -> None:
    known = {name: value for name, value in room.SEED.items() if name not in room.UNKNOWN}
    for unknown in (room.UNKNOWN, EMPTY, {}):
        answer = await daemon.http.post("/segment2/", json={**known, **unknown})

        assert answer.status_code == 200, answer.text
        assert {name: answer.json()[name] for name in unknown} == unknown


async def test_a_mask_is_where_the_patch_is_whatever_the_shape_of_the_picture(daemon: Daemon) -> None:
    for width, height in ((300, 200), (100, 300), (64, 64)):
        taken = await uploaded(daemon, room.encoded(room.patched(width, height)), f"{width}.png")

        body = (await daemon.http.post("/segment2/", json=room.record(taken))).json()

        assert body["mask_name"] == f"{width}_mask.png"
        answer = await daemon.http.get("/staticapi_out/" + body["mask_path_relative"].removeprefix("api_out/"))
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/png")
        mask = room.decoded(answer.content)
        assert mask.shape == (height, width)
        assert set(np.unique(mask)) == {0, 255}
        real = room.truth(width, height)
        assert np.logical_and(mask > 0, real).sum() / np.logical_or(mask > 0, real).sum() > 0.9


async def test_the_luminal_set_has_four_classes_however_it_is_written(daemon: Daemon) -> None:
    path = "classification/private_Breast_luminal/imgs/cls_00240.png"
    for name in ("private_Breast_Luminal", "private_Breast_luminal", "Breast_luminal"):
        asked = {**room.SEED, "dataset_name": name, "img_path_relative": path}

        body = (await daemon.http.post("/segment2/", json=asked)).json()

        assert (len(body["probability"]), body["dataset_name"]) == (4, name)
        assert body["label_names"] == ["HER2", "Luminal A", "Luminal B", "Triple Negative"]
        assert body["label_names_zh"][2] == "管腔 B 型"
        assert "不可靠" in body["note"]


async def test_several_records_are_answered_in_their_order_and_one_as_one(daemon: Daemon) -> None:
    taken = await uploaded(daemon, room.encoded(room.patched(300, 200)))
    asked = [room.record(taken), room.SEED, room.record(taken, img_name="again.png")]

    answers = (await daemon.http.post("/segment2/", json=asked)).json()
    alone = (await daemon.http.post("/segment2/", json=asked[:1])).json()

    assert [each["img_name"] for each in answers] == ["scan.png", "cls_00000.jpg", "again.png"]
    assert ["probability" in each for each in answers] == [False, True, False]
    assert isinstance(alone, list)


async def test_two_answers_for_one_name_are_two_answers(daemon: Daemon) -> None:
    one = await uploaded(daemon, room.encoded(room.patched(300, 200)), "scan.png")
    other = await uploaded(daemon, room.encoded(room.patched(300, 200, (0, 0, 0))), "scan.png")
    records = [room.record(taken, img_name="scan.png") for taken in (one, other)]

    first, second = [(await daemon.http.post("/segment2/", json=each)).json() for each in records]

    assert first["mask_path_relative"] != second["mask_path_relative"]
    masks = [room.decoded(Path(each["mask_path_absolute"]).read_bytes()) for each in (first, second)]
    assert masks[0].any()
    assert not masks[1].any()
    saved = await daemon.http.get("/imaging/ultrasound/answers/" + first["json_path"].partition("/api_out/")[2])
    assert saved.json() == {name: value for name, value in first.items() if name != "json_path"}


async def test_a_sample_is_a_whole_record_that_can_be_sent_back(daemon: Daemon) -> None:
    for path, task, name in (
        (SAMPLE[0], "segmentation", "KidneyUS"),
        (SAMPLE[1], "classification", "private_Appendix"),
        (SAMPLE[2], "classification", "Appendix"),
        (SAMPLE[0], "classification", "private_Breast_Luminal"),
    ):
        answer = await daemon.http.get(path, params={"task": task, "dataset_name": name})

        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert set(found) == set(room.SEED)
        assert (found["task"], found["img_dimensions"]) == (task, [300, 200])
        assert found["data_partition_group"] == "public_all"
        shown = await daemon.http.get(f"/staticdata/{found['img_path_relative']}")
        assert len(shown.content) == found["img_size_bytes"]
        assert (await daemon.http.post("/segment2/", json=found)).status_code == 200


async def test_the_overview_tells_of_tasks_parts_labels_and_models(daemon: Daemon) -> None:
    found = (await daemon.http.get("/imaging/ultrasound/parts")).json()

    shown = [(part["task"], part["dataset_name"], part["shown_as"]) for part in found["parts"] if part["shown_as"]]
    assert shown == [
        ("segmentation", "BUS-BRA", "乳腺"),
        ("segmentation", "CAMUS", "心脏"),
        ("segmentation", "Fetal_HC", "胎儿头部"),
        ("segmentation", "KidneyUS", "肾脏"),
        ("segmentation", "private_Thyroid", "甲状腺"),
        ("classification", "private_Appendix", "阑尾"),
        ("classification", "BUS-BRA", "乳腺"),
        ("classification", "Fatty-Liver", "脂肪肝"),
        ("classification", "private_Breast_luminal", "乳腺管腔"),
    ]
    assert len([part for part in found["parts"] if part["task"] == "segmentation"]) == 13
    assert len([part for part in found["parts"] if part["task"] == "classification"]) == 8
    assert all(part["has_model"] for part in found["parts"])
    [luminal] = [part for part in found["parts"] if len(part["labels"]) == 4]
    assert [label["name_zh"] for label in luminal["labels"]][3] == "三阴性（乳腺癌）"
    assert "不可靠" in luminal["note"]


# --- what is refused ---


async def test_a_name_of_a_client_leads_nowhere_and_overwrites_nothing(daemon: Daemon, tmp_path: Path) -> None:
    first, second = room.encoded(room.patched(30, 20)), room.encoded(room.patched(40, 20))

    one = await uploaded(daemon, first, "../../../evil.png")
    two = await uploaded(daemon, second, "evil.png")
    await uploaded(daemon, first, "/etc/..\\..\\x.png")

    assert one["img_name"] == "evil.png"
    assert two["img_name"] != "evil.png"
    folder = daemon.settings.imaging.ultrasound.upload_dir
    assert (folder / "evil.png").read_bytes() == first
    assert (folder / two["img_name"]).read_bytes() == second
    assert {path.parent for path in tmp_path.rglob("*.png")} == {folder}


async def test_uploads_of_one_name_at_once_are_all_kept(daemon: Daemon) -> None:
    contents = [room.encoded(room.patched(30 + number, 20)) for number in range(6)]

    taken = await asyncio.gather(*[uploaded(daemon, content, "same.png") for content in contents])

    assert len({each["img_name"] for each in taken}) == 6
    folder = daemon.settings.imaging.ultrasound.upload_dir
    assert [(folder / each["img_name"]).read_bytes() for each in taken] == contents


def bomb() -> bytes:
    """A PNG of 100 megapixels in a hundred kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 10_000, 10_000, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(10_001 * 10_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


WHOLE = room.encoded(room.patched(300, 200))
BAD_FILES: dict[str, tuple[str, bytes, int]] = {
    "text": ("a.png", b"hello", 422),
    "empty": ("a.png", b"", 422),
    "half": ("a.png", WHOLE[: len(WHOLE) // 2], 422),
    "html": ("a.png", b"<html><script>alert(1)</script></html>", 422),
    "bomb": ("a.png", bomb(), 413),
    "too many bytes": ("a.png", WHOLE + bytes(1_100_000), 413),
}


async def test_a_file_that_is_no_picture_is_refused_and_nothing_is_kept(daemon_on: DaemonOn, tmp_path: Path) -> None:
    async with daemon_on(cameras={}, imaging=room.settings(tmp_path, image_max_mib=1)) as daemon:
        for what, (name, content, status) in BAD_FILES.items():
            answer = await upload(daemon, content, name)

            assert answer.status_code == status, f"{what}: {answer.text}"
            body = answer.json()
            assert body["error"] == body["detail"]["message"]
            assert body["detail"]["field"] == "file", what
            assert kept(daemon) == [], what


async def test_a_form_without_a_file_is_refused(daemon: Daemon) -> None:
    for answer in (
        await daemon.http.post("/upload", data={"user": "test"}),
        await daemon.http.post("/upload", files={"image": ("a.png", WHOLE)}),
        await daemon.http.post("/upload", json={"file": "a.png"}),
        await daemon.http.post("/upload", files={"file": ("a.png", WHOLE), "other": ("b.png", WHOLE)}),
    ):
        assert answer.status_code in (400, 413, 422), answer.text
        assert answer.json()["error"]
    assert kept(daemon) == []


async def test_a_task_that_there_is_not_is_400_in_the_words_of_the_seed(daemon: Daemon) -> None:
    for path in PREDICT:
        answer = await daemon.http.post(path, json={**room.SEED, "task": "detection"})

        assert answer.status_code == 400
        body = answer.json()
        assert body["error"] == "不支持的task类型"
        assert (body["detail"]["field"], body["detail"]["value"]) == ("task", "detection")


async def test_a_sample_that_cannot_be_drawn_says_why(daemon: Daemon) -> None:
    for task, name, status in (
        ("detection", "KidneyUS", 400),
        ("segmentation", "Nothing", 404),
        ("segmentation", "CAMUS", 404),
        ("segmentation", "DDTI", 404),
        ("segmentation", "../../etc", 404),
    ):
        answer = await daemon.http.get("/random_sample/", params={"task": task, "dataset_name": name})

        assert answer.status_code == status, answer.text
        assert answer.json()["error"] == answer.json()["detail"]["message"]


BAD_RECORDS: dict[str, tuple[dict[str, Any], int, str]] = {
    "a set that there is not": ({"dataset_name": "Brain"}, 422, "dataset_name"),
    "a set of the other task": ({"dataset_name": "CAMUS"}, 422, "dataset_name"),
    "a file of the system": ({"img_path_relative": "/etc/passwd"}, 403, "img_path_relative"),
    "a way out": ({"img_path_relative": "api_in/../../../etc/passwd"}, 403, "img_path_relative"),
    "another way out": ({"img_path_relative": "classification/../../x.png"}, 403, "img_path_relative"),
    "another folder": ({"img_path_relative": "api_out/x.png"}, 403, "img_path_relative"),
    "what is being received": ({"img_path_relative": "api_in/.receiving/x.png"}, 403, "img_path_relative"),
    "what is not there": ({"img_path_relative": "api_in/none.png"}, 404, "img_path_relative"),
    "a zero byte": ({"img_path_relative": "api_in/a\0b.png"}, 403, "img_path_relative"),
    "no dimensions": ({"img_dimensions": [0, 819]}, 422, "img_dimensions"),
    "one dimension": ({"img_dimensions": [1008]}, 422, "img_dimensions"),
    "words for bytes": ({"img_size_bytes": "many"}, 422, "img_size_bytes"),
    "no name": ({"img_name": None}, 422, "img_name"),
}


async def test_a_record_that_cannot_be_judged_names_its_field(daemon: Daemon) -> None:
    for what, (changes, status, field) in BAD_RECORDS.items():
        answer = await daemon.http.post("/segment2/", json={**room.SEED, **changes})

        assert answer.status_code == status, f"{what}: {answer.text}"
        body = answer.json()
        assert body["error"] == body["detail"]["message"]
        assert field in str(body["detail"].get("field") or body["detail"].get("errors")), what
        assert "records[0]" not in answer.text, what
    assert not list(daemon.settings.imaging.ultrasound.output_dir.rglob("*.json"))


async def test_one_bad_record_among_several_is_named_and_nothing_is_answered(daemon: Daemon) -> None:
    for changes, status, field in (
        ({"img_path_relative": "/etc/passwd"}, 403, "records[1].img_path_relative"),
        ({"dataset_name": "Brain"}, 422, "records[1].dataset_name"),
        ({"task": "detection"}, 400, "records[1].task"),
    ):
        answer = await daemon.http.post("/segment2/", json=[room.SEED, {**room.SEED, **changes}])

        assert answer.status_code == status, answer.text
        assert answer.json()["detail"]["field"] == field
    assert not list(daemon.settings.imaging.ultrasound.output_dir.rglob("*.json"))


async def test_a_link_out_of_the_folders_is_not_followed(daemon: Daemon, tmp_path: Path) -> None:
    outside = tmp_path / "outside.png"
    outside.write_bytes(WHOLE)
    folder = daemon.settings.imaging.ultrasound.upload_dir
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link.png").symlink_to(outside)

    asked = await daemon.http.post("/segment2/", json={**room.SEED, "img_path_relative": "api_in/link.png"})
    read = await daemon.http.get("/staticapi_in/link.png")

    assert (asked.status_code, read.status_code) == (403, 403)


async def test_what_is_no_json_and_what_is_too_much_is_refused(
    daemon_on: DaemonOn, tmp_path: Path, site: dict[str, str]
) -> None:
    async with daemon_on(cameras={}, imaging=room.settings(tmp_path, **site, records_max=2)) as daemon:
        await loaded(daemon)
        headers = {"Content-Type": "application/json"}
        broken = await daemon.http.post("/segment2/", content=b'{"img_name": ', headers=headers)
        number = await daemon.http.post("/segment2/", json=7)
        none = await daemon.http.post("/segment2/", json=[])
        many = await daemon.http.post("/segment2/", json=[room.SEED] * 3)
        huge = await daemon.http.post("/segment2/", content=b"[" + b" " * 400_000 + b"]", headers=headers)

        assert [each.status_code for each in (broken, number, none, many, huge)] == [422, 422, 422, 413, 413]
        assert many.json()["detail"]["field"] == "records"


async def test_only_pictures_and_answers_of_the_three_folders_are_shown(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}", encoding="utf-8")
    for path in (
        "/staticapi_in/..%2fledger.db",
        "/staticapi_in/..%2fsecret.json",
        f"/staticapi_in/{tmp_path / 'secret.json'}",
        "/staticapi_in/x.db",
        "/staticapi_in/.receiving/x.png",
        "/staticdata/..%2f..%2fetc%2fpasswd",
        "/imaging/ultrasound/uploads/..%2fapi_out%2fx.png",
        "/imaging/ultrasound/answers/",
    ):
        answer = await daemon.http.get(path)

        assert answer.status_code == 403, f"{path}: {answer.text}"


async def test_what_is_shown_runs_nothing_and_is_told_to_no_other_site(daemon: Daemon) -> None:
    taken = await uploaded(daemon, WHOLE)

    shown = await daemon.http.get("/staticapi_in/" + taken["img_name"], headers={"Origin": "https://other.example"})
    gone = await daemon.http.get("/staticapi_in/none.png")

    assert shown.content == WHOLE
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in shown.headers["Content-Security-Policy"]
    assert not [name for name in shown.headers if name.lower().startswith("access-control")]
    assert gone.status_code == 404
    assert (await daemon.http.get("/")).status_code == 404


async def test_keys_guard_everything_but_the_page(daemon_on: DaemonOn, tmp_path: Path, site: dict[str, str]) -> None:
    keys = tmp_path / "keys.toml"
    names = {"his": "his", "nurse": "nurse"}
    keys.write_text(
        "".join(f'[[keys]]\nname = "{n}"\nrole = "{r}"\nkey = "{n}-key-0123456789"\n' for n, r in names.items()),
        encoding="utf-8",
    )
    keys.chmod(0o600)
    imaging = room.settings(tmp_path, **site)
    async with daemon_on(cameras={}, imaging=imaging, auth={"keys_file": str(keys)}) as daemon:
        await loaded(daemon)
        for path, verb in (
            ("/upload", "POST"),
            ("/segment2/", "POST"),
            ("/segment/", "POST"),
            ("/random_sample/?task=segmentation&dataset_name=KidneyUS", "GET"),
            ("/staticapi_in/a.png", "GET"),
            ("/staticapi_out/a.png", "GET"),
            ("/staticdata/segmentation/KidneyUS/imgs/seg_00000.png", "GET"),
            ("/imaging/ultrasound/parts", "GET"),
        ):
            nobody = await daemon.http.request(verb, path)
            nurse = await daemon.http.request(verb, path, headers={"X-API-Key": "nurse-key-0123456789"})
            assert (nobody.status_code, nurse.status_code) == (401, 403), path
            assert nobody.json()["error"]
        page = await daemon.http.get("/imaging/ultrasound/page/")
        assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
        mine = await daemon.http.post(
            "/segment2/", json=room.SEED, headers={"Authorization": "Bearer his-key-0123456789"}
        )
        assert mine.status_code == 200


# --- models ---


async def test_a_site_without_models_is_ready_and_says_what_is_missing(daemon_on: DaemonOn, tmp_path: Path) -> None:
    async with daemon_on(cameras={}, imaging=room.settings(tmp_path)) as daemon:
        while "没有配置" not in (told := (await daemon.http.get("/imaging/ultrasound/parts")).json()["why_not"]):
            assert "正在加载" in told

        asked = await daemon.http.post("/segment2/", json=room.SEED)
        drawn = await daemon.http.get("/random_sample/", params={"task": "segmentation", "dataset_name": "KidneyUS"})
        read = await daemon.http.get("/staticdata/segmentation/a.png")

        assert (asked.status_code, asked.json()["detail"]["code"]) == (503, "IMAGING_NOT_CONFIGURED")
        assert "segmentation_model" in asked.json()["error"]
        assert (drawn.status_code, read.status_code) == (404, 503)
        assert "ultrasound" not in daemon.parts.context.health.components
        assert (await upload(daemon, WHOLE)).status_code == 200


async def test_a_model_that_does_not_load_stops_no_daemon(daemon_on: DaemonOn, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    async with daemon_on(cameras={}, imaging=room.settings(tmp_path, model=str(broken))) as daemon:
        await loaded(daemon)

        asked = await daemon.http.post("/segment2/", json=room.SEED)
        ready = (await daemon.http.get("/ready")).json()

        assert (asked.status_code, asked.json()["detail"]["code"]) == (503, "IMAGING_NOT_CONFIGURED")
        assert str(tmp_path) not in asked.text
        assert not ready["components"]["ultrasound"]["ok"]
        assert "broken.onnx" in ready["components"]["ultrasound"]["why"]
        assert (await daemon.http.get("/health")).status_code == 200
        assert (await daemon.http.get("/imaging/ultrasound/parts")).json()["why_not"]


async def test_a_set_without_a_model_is_503_and_the_others_are_answered(
    daemon_on: DaemonOn, tmp_path: Path, site: dict[str, str]
) -> None:
    two = site["classification_model"]
    imaging = room.settings(tmp_path, data_dir=site["data_dir"], classification_model=two)
    async with daemon_on(cameras={}, imaging=imaging) as daemon:
        await loaded(daemon)
        taken = await uploaded(daemon, WHOLE)

        answered = await daemon.http.post("/segment2/", json=room.SEED)
        refused = await daemon.http.post("/segment2/", json=room.record(taken))

        assert answered.status_code == 200, answered.text
        assert (refused.status_code, refused.json()["detail"]["code"]) == (503, "IMAGING_NOT_CONFIGURED")


# --- the desk ---


class Slow(Ultrasound):
    """A model that answers when it is let."""

    def __init__(self, rules: UltrasoundRules) -> None:
        super().__init__(rules)
        self.began, self.may_end = threading.Event(), threading.Event()
        self.inside = self.most = 0

    def predict(self, records: Sequence[Record], paths: Sequence[Path]) -> list[Prediction]:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.began.set()
        assert self.may_end.wait(DEADLINE_S)
        try:
            return super().predict(records, paths)
        finally:
            self.inside -= 1


async def test_one_call_works_some_wait_and_one_more_is_told_so(
    unit: Unit, tmp_path: Path, site: dict[str, str]
) -> None:
    model = Path(site["classification_model"])
    engine, health = Slow(rules.ultrasound(classification_model=model, device="cpu", threads=1)), Health()
    roots = Roots(data=Path(site["data_dir"]), uploads=tmp_path / "api_in", outputs=tmp_path / "api_out")
    files = UltrasoundFiles(roots, bytes_max=1 << 20, pixels_max=1_000_000)
    desk = UltrasoundDesk(
        unit,
        engine,
        files,
        health,
        is_wanted=True,
        records_max=1,
        queue_max=2,
        keep=timedelta(days=1),
        bytes_max=1 << 30,
    )
    seed, now = Record.model_validate(room.SEED), datetime.now(UTC)
    running = asyncio.create_task(desk.run())
    try:
        await until(lambda: "ultrasound" in health.components)
        calls = [asyncio.create_task(desk.predict([seed], WHO, now)) for _ in range(3)]
        await until(engine.began.is_set)
        await until(lambda: _value(desk, "orwatch_ultrasound_waiting") == 2)

        with pytest.raises(UltrasoundBusy) as refused:
            await desk.predict([seed], WHO, now)

        engine.may_end.set()
        async with asyncio.timeout(DEADLINE_S):
            answers = await asyncio.gather(*calls)
        assert "queue_max" in refused.value.message
        assert [len(answer) for answer in answers] == [1, 1, 1]
        assert engine.most == 1
        assert _value(desk, "orwatch_ultrasound_waiting") == 0
    finally:
        engine.may_end.set()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _value(desk: UltrasoundDesk, name: str) -> float:
    return sum(sample.value for metric in desk.readings() if metric.name == name for sample in metric.samples)


async def test_uploads_and_answers_leave_by_age_and_what_broke_off_at_the_next_start(
    daemon: Daemon, daemon_on: DaemonOn, tmp_path: Path
) -> None:
    taken = await uploaded(daemon, WHOLE)
    answer = (await daemon.http.post("/segment2/", json=room.record(taken))).json()
    context = daemon.parts.context
    desk = ultrasound_desk_of(Site(settings=daemon.settings, unit=context.unit, health=Health(), zone=None))

    await desk.clean(datetime.now(UTC) + timedelta(days=29))
    assert (len(kept(daemon)), Path(answer["json_path"]).is_file()) == (1, True)
    await desk.clean(datetime.now(UTC) + timedelta(days=31))

    assert (kept(daemon), Path(answer["json_path"]).exists()) == ([], False)
    gone = await daemon.http.post("/segment2/", json=room.record(taken))
    assert (gone.status_code, gone.json()["detail"]["code"]) == (404, "IMAGING_INPUT_NOT_FOUND")


async def test_what_was_being_received_when_the_process_ended_is_deleted_at_the_next_start(
    daemon_on: DaemonOn, tmp_path: Path
) -> None:
    imaging = room.settings(tmp_path)
    left = tmp_path / "api_in" / ".receiving" / "5f0c6a3e-6ad1-4bb6-9f43-0a4a35d6f8c1" / "01-a.png"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")

    async with daemon_on(cameras={}, imaging=imaging):
        await until(lambda: not left.exists())


async def test_an_upload_that_breaks_off_leaves_nothing(daemon: Daemon) -> None:
    async def half() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n' + WHOLE[:50]

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    answer = await daemon.http.post("/upload", content=half(), headers=headers)

    assert (answer.status_code, answer.json()["detail"]["code"]) == (400, "BAD_REQUEST")
    assert kept(daemon) == []


async def test_every_access_leaves_a_row_and_is_counted(daemon: Daemon) -> None:
    taken = await uploaded(daemon, WHOLE)
    await upload(daemon, b"no picture")
    await daemon.http.get("/random_sample/", params={"task": "x", "dataset_name": "KidneyUS"})
    await daemon.http.post("/segment2/", json=room.record(taken))
    await daemon.http.post("/segment2/", json=room.record(taken, img_path_relative="/etc/passwd"))
    await daemon.http.get("/staticapi_in/scan.png")

    assert accesses(daemon) == [
        ("ultrasound upload", "ok"),
        ("ultrasound upload", "ImagingInputInvalid"),
        ("ultrasound sample", "ImagingRequestInvalid"),
        ("ultrasound predict", "ok"),
        ("ultrasound predict", "ImagingPathForbidden"),
        ("ultrasound uploads", "ok"),
    ]
    metrics = (await daemon.http.get("/metrics")).text
    assert 'orwatch_ultrasound_predictions_total{outcome="ok",task="segmentation"} 1.0' in metrics
    assert 'orwatch_ultrasound_seconds_total{task="segmentation"} ' in metrics


async def test_a_folder_that_fills_up_is_cleaned_before_its_time(daemon_on: DaemonOn, tmp_path: Path) -> None:
    imaging = room.settings(tmp_path, folder_gib_max=3 * len(WHOLE) / 2**30)
    async with daemon_on(cameras={}, imaging=imaging) as daemon:
        for number in range(6):
            await uploaded(daemon, WHOLE, f"{number}.png")

        await until(lambda: len(kept(daemon)) <= 3)
        assert "5.png" in kept(daemon)
