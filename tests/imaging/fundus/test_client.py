"""The fundus client against a server that checks what the vendor would check."""

import asyncio
import hashlib
import logging
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.errors import (
    ImagingError,
    InputInvalid,
    InputTooLarge,
    NotConfigured,
    Refused,
    Unauthorized,
    Unclear,
    Unreachable,
)
from imaging.fundus.answer import Processing, StudyAnswer
from imaging.fundus.client import FundusClient, FundusRules
from imaging.fundus.study import EyeImage, Study, Way, eye_of_name, new_study_id, plan
from imaging.fundus.terms import AiType, Camera, Eye
from imaging.pictures import Kind, Picture, check_picture
from tests import rules
from tests.servers import fundus as far
from tests.servers.fundus import APP_ID, APP_ID_45, TOKEN, TOKEN_45, Fault, FundusServer
from tests.servers.fundus_answers import answer_45, ultra_wide_answer
from tests.waiting import DEADLINE_S

LATE_S = 2.0
WIDE = AiType.ULTRA_WIDE


@pytest.fixture
def server() -> Iterator[FundusServer]:
    with FundusServer(ultra_wide_answer()) as running:
        yield running


def rules_for(server: FundusServer, **changes: object) -> FundusRules:
    known = rules.fundus(
        base_url=server.url,
        app_id=APP_ID,
        token=TOKEN,
        app_id_45=APP_ID_45,
        token_45=TOKEN_45,
        timeout_s=20.0,
        poll_interval_s=0.01,
        retry_wait_s=0.01,
    )
    return replace(known, **changes)  # type: ignore[arg-type]


def jpeg(path: Path, colour: int = 90, side: int = 64) -> Path:
    path.write_bytes(cv2.imencode(".jpg", np.full((side, side, 3), colour, np.uint8))[1].tobytes())
    return path


def study(*paths: Path, ai_type: AiType = WIDE, **changes: object) -> Study:
    images = tuple(EyeImage(picture=check_picture(path), eye=eye_of_name(path.name)) for path in paths)
    known = Study(study_id=new_study_id(ai_type, datetime.now(UTC)), ai_type=ai_type, images=images)
    return replace(known, **changes)  # type: ignore[arg-type]


def of_size(size: int, name: str = "a_L.jpg") -> EyeImage:
    """For planning, which looks at no content."""
    return EyeImage(picture=Picture(path=Path(name), kind=Kind.JPEG, width=3000, height=3000, size=size), eye=Eye.LEFT)


# --- both ways up ---


async def test_one_small_picture_goes_up_in_json(server: FundusServer, tmp_path: Path) -> None:
    path = jpeg(tmp_path / "p_OD.jpg")
    sent = study(path, patient_id="p1", patient_name="张三", gender=2, birthday=date(1980, 1, 2))
    async with FundusClient(rules_for(server)) as client:
        assert await client.submit(sent) is Way.BASE64

    kept = server.studies[sent.study_id]
    assert server.refusals == []
    assert (kept.way, kept.app_id) == ("upload", APP_ID)
    [image] = kept.images
    assert (image.image_id, image.eye, image.kind) == ("img001", "2", "JPEG")
    assert image.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    told = {key: value for key, value in kept.fields.items() if key != "studyDate"}
    assert told == {
        "studyId": sent.study_id,
        "studyName": "超广角眼底检查",
        "studyType": 2,
        "patientName": "张三",
        "patientId": "p1",
        "patientGender": "2",
        "patientBirthday": "1980-01-02",
    }


async def test_three_pictures_go_up_together_in_their_order(server: FundusServer, tmp_path: Path) -> None:
    paths = [jpeg(tmp_path / name, colour) for name, colour in (("a_L.jpg", 10), ("b_R.jpg", 20), ("c.jpg", 30))]
    sent = study(*paths)
    async with FundusClient(rules_for(server)) as client:
        await client.submit(sent)

    images = server.studies[sent.study_id].images
    assert [(image.image_id, image.eye) for image in images] == [("img001", "1"), ("img002", "2"), ("img003", "0")]
    assert [image.sha256 for image in images] == [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    assert "patientName" not in server.studies[sent.study_id].fields


async def test_sixty_megabytes_are_streamed_as_a_file(server: FundusServer, tmp_path: Path) -> None:
    path = jpeg(tmp_path / "大图 OS.jpg", side=256)
    with path.open("ab") as file:
        # What comes behind the end marker is nobody's, and is sent all the same.
        for block in range(60):
            file.write(bytes([block]) * 2**20)
    sent = study(path, camera=Camera.OPTOS, gender=1)
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    tracemalloc.start()
    try:
        async with FundusClient(rules_for(server)) as client:
            assert await client.submit(sent) is Way.FILE
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    kept = server.studies[sent.study_id]
    [image] = kept.images
    assert server.refusals == []
    assert (image.sha256, image.eye, image.image_id) == (expected, "1", "img001")
    assert (kept.way, kept.fields["cameraType"], kept.fields["patientGender"]) == ("file", "1", "1")
    assert peak < 12 * 2**20


async def test_the_camera_is_not_declared_unless_it_is_known(server: FundusServer, tmp_path: Path) -> None:
    path = jpeg(tmp_path / "a_R.jpg")
    with path.open("ab") as file:
        file.truncate(6 * 2**20)
    sent = study(path)
    async with FundusClient(rules_for(server)) as client:
        await client.submit(sent)

    assert server.studies[sent.study_id].fields["cameraType"] == "0"


async def test_45_degrees_go_up_with_their_own_credential_and_name(server: FundusServer, tmp_path: Path) -> None:
    sent = study(jpeg(tmp_path / "a_R.jpg"), ai_type=AiType.GLAUCOMA)
    server.answer = answer_45([{"status": 200, "eyeCategory": 1, "aiResult": "未见明显青光眼"}], None)
    async with FundusClient(rules_for(server)) as client:
        await client.submit(sent)
        found = await client.wait_for(sent.study_id, AiType.GLAUCOMA)

    kept = server.studies[sent.study_id]
    assert (kept.app_id, kept.fields["studyName"]) == (APP_ID_45, "眼底检查")
    assert isinstance(found, StudyAnswer)
    assert found.is_success
    assert (found.glaucoma[0].eye, found.glaucoma[0].ai_result) == (Eye.RIGHT, "未见明显青光眼")


def test_how_pictures_travel_follows_their_size_and_number() -> None:
    limit = 5 * 2**20
    assert plan([of_size(limit)], WIDE) is Way.BASE64
    assert plan([of_size(limit + 1)], WIDE) is Way.FILE
    assert plan([of_size(100 * 2**20)], WIDE) is Way.FILE
    assert plan([of_size(limit // 20)] * 20, WIDE) is Way.BASE64
    assert plan([of_size(limit)], AiType.GLAUCOMA) is Way.BASE64


@pytest.mark.parametrize(
    ("images", "ai_type", "what"),
    [
        ([of_size(100 * 2**20 + 1)], WIDE, "单张上限 100 MB"),
        ([of_size(3 * 2**20)] * 2, WIDE, "2 张共 6 MB.*请逐张提交"),
        ([of_size(10)] * 21, WIDE, "最多 20 张，收到 21 张"),
        ([of_size(5 * 2**20 + 1)], AiType.DISEASES, "45° 分析上限 5 MB"),
        ([of_size(10)] * 2, AiType.GLAUCOMA_AND_DISEASES, "请逐张提交"),
    ],
)
def test_what_is_too_much_says_what_to_do(images: list[EyeImage], ai_type: AiType, what: str) -> None:
    with pytest.raises(InputTooLarge, match=what) as caught:
        plan(images, ai_type)
    assert caught.value.field == "images"


def test_no_picture_is_no_study() -> None:
    with pytest.raises(InputInvalid, match="至少要一张"):
        plan([], WIDE)


# --- which eye ---


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("p1_OD.jpg", Eye.RIGHT),
        ("od.png", Eye.RIGHT),
        ("patientOD.jpg", Eye.RIGHT),
        ("p1_R.jpg", Eye.RIGHT),
        ("p1_R2.jpg", Eye.RIGHT),
        ("p1_RE.jpg", Eye.RIGHT),
        ("right eye.jpg", Eye.RIGHT),
        ("RIGHTEYE.JPG", Eye.RIGHT),
        ("p1_OS.dcm", Eye.LEFT),
        ("OS001.jpg", Eye.LEFT),
        ("p1_L.jpg", Eye.LEFT),
        ("p1_left.jpg", Eye.LEFT),
        ("Optos_p1_R.jpg", Eye.RIGHT),
        ("optos_001.jpg", Eye.UNKNOWN),
        ("OPTOS 001.jpg", Eye.UNKNOWN),
        ("model_report.jpg", Eye.UNKNOWN),
        ("brightness.jpg", Eye.UNKNOWN),
        ("photos/001.jpg", Eye.UNKNOWN),
        ("photos_OD/001.jpg", Eye.UNKNOWN),
        ("both_OD_OS.jpg", Eye.UNKNOWN),
        ("001.jpg", Eye.UNKNOWN),
        ("OD", Eye.RIGHT),
        ("", Eye.UNKNOWN),
    ],
)
def test_the_eye_is_told_by_words_of_the_name(name: str, eye: Eye) -> None:
    assert eye_of_name(name) is eye


def test_two_clerks_in_one_second_have_two_studies() -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    made = {new_study_id(WIDE, now) for _ in range(200)}
    assert len(made) == 200
    assert all(each.startswith(f"uw_{int(now.timestamp())}_") for each in made)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("study_id", "uw 1"),
        ("study_id", "a" * 65),
        ("study_id", "../x"),
        ("patient_id", ""),
        ("patient_id", "1\n2"),
        ("patient_name", "名" * 65),
        ("gender", 4),
        ("birthday", date(3000, 1, 1)),
    ],
)
def test_a_field_that_the_back_end_would_not_take_is_named(field: str, value: object, tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=field) as caught:
        study(jpeg(tmp_path / "a.jpg"), **{field: value})
    assert caught.value.field == field


# --- asking for the answer ---


async def test_three_times_processing_then_a_result(server: FundusServer, tmp_path: Path) -> None:
    sent = study(jpeg(tmp_path / "a_L.jpg"))
    server.next("query", *[far.PROCESSING] * 3)
    seen: list[tuple[int, int]] = []
    async with FundusClient(rules_for(server)) as client:
        await client.submit(sent)
        found = await client.wait_for(
            sent.study_id, WIDE, on_processing=lambda state, poll, polls: seen.append((poll, polls))
        )

    assert isinstance(found, StudyAnswer)
    assert found.is_success
    assert seen == [(1, 30), (2, 30), (3, 30)]
    assert server.queries == [
        {"hospitalId": APP_ID, "studyId": sent.study_id, "aiType": 12, "needReport": 1},
    ]
    assert server.refusals == []


@pytest.mark.parametrize(("ai_type", "polls"), [(WIDE, 4), (AiType.GLAUCOMA, 2)])
async def test_the_last_poll_is_the_last(server: FundusServer, ai_type: AiType, polls: int) -> None:
    server.next("query", *[far.PROCESSING] * 10)
    async with FundusClient(rules_for(server, polls_max=4, polls_max_45=2)) as client:
        found = await client.wait_for("uw_1", ai_type)

    assert isinstance(found, Processing)
    assert (found.study_id, found.ai_type) == ("uw_1", ai_type)
    assert server.calls["query"] == polls


async def test_no_report_is_wanted_where_none_is_asked_for(server: FundusServer, tmp_path: Path) -> None:
    sent = study(jpeg(tmp_path / "a_L.jpg"))
    async with FundusClient(rules_for(server)) as client:
        await client.submit(sent)
        await client.query(sent.study_id, WIDE, need_report=False)
    assert server.queries[0]["needReport"] == 0


CODES = [
    (1, Refused, "参数错误"),
    (2, Unclear, "数据库错误"),
    (10003, Refused, "没有这个检查号的数据"),
    (90001, Unauthorized, "APP-TOKEN 无效"),
    (90002, Unauthorized, "签名无效"),
    (90003, Refused, "超过获取次数上限"),
    (4711, Refused, "as they say"),
    ("-2", Refused, "as they say"),
]


@pytest.mark.parametrize(("code", "kind", "what"), CODES)
async def test_every_code_is_its_own_error_in_chinese(
    server: FundusServer, tmp_path: Path, code: int | str, kind: type[ImagingError], what: str
) -> None:
    sent = study(jpeg(tmp_path / "a.jpg"))
    fault = Fault(code=code, message="as they\x1b[31m say")
    server.next("upload", fault)
    server.next("query", *[fault] * 3)
    async with FundusClient(rules_for(server)) as client:
        for call in (client.submit(sent), client.query(sent.study_id, WIDE)):
            with pytest.raises(kind, match=what.replace(" say", ".* say")) as caught:
                await call
            assert type(caught.value) is kind
            assert caught.value.code == str(code)
            assert "\x1b" not in caught.value.message
    assert server.calls == {"upload": 1, "file": 0, "query": 3 if kind is Unclear else 1}


async def test_a_study_that_is_there_already_is_not_sent_twice(server: FundusServer, tmp_path: Path) -> None:
    server.next("upload", Fault(code=30008))
    async with FundusClient(rules_for(server)) as client:
        with pytest.raises(Refused, match="正在处理中") as caught:
            await client.submit(study(jpeg(tmp_path / "a.jpg")))
    assert caught.value.code == "30008"


@pytest.mark.parametrize("code", [0, 1, 90001])
async def test_a_service_that_is_not_open_is_told_as_such(server: FundusServer, code: int) -> None:
    server.next("query", Fault(code=code, message="请联系 help@vendor.example 开通服务"))
    async with FundusClient(rules_for(server)) as client:
        with pytest.raises(Refused, match="此 APP-ID 未开通“超广角多病种”") as caught:
            await client.query("uw_1", WIDE)
    assert "@" not in caught.value.message


async def test_a_wrong_token_is_refused_by_the_server(server: FundusServer, tmp_path: Path) -> None:
    async with FundusClient(rules_for(server, token="wrong")) as client:
        with pytest.raises(Unauthorized, match="签名"):
            await client.submit(study(jpeg(tmp_path / "a.jpg")))


async def test_the_credential_of_the_other_service_gets_no_result(server: FundusServer) -> None:
    swapped = rules_for(server, app_id=APP_ID_45, token=TOKEN_45)
    async with FundusClient(swapped) as client:
        with pytest.raises(Refused, match="未开通"):
            await client.query("uw_1", WIDE)


# --- when the network fails ---

BROKEN = {
    "an error page": far.HTML,
    "a page as an answer": far.HTML_200,
    "nothing": far.EMPTY,
    "half a JSON": far.HALF_JSON,
    "no object": far.NO_OBJECT,
    "no code": far.NO_CODE,
    "nested without end": far.NESTED,
    "a reset": far.RESET,
    "a data that is none": Fault(code=0, data=[1]),
    "a result that is none": Fault(code=0, data={"ultraWideResult": "x"}),
}
LATE = {"a stall": far.STALL, "a trickle": far.TRICKLE}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
async def test_a_query_is_asked_twice_more_and_then_unclear(server: FundusServer, fault: Fault) -> None:
    server.studies["uw_1"] = far.Kept("upload", APP_ID, {})
    async with FundusClient(rules_for(server)) as client:
        server.next("query", fault, fault)
        assert isinstance(await client.query("uw_1", WIDE), StudyAnswer)
        server.next("query", fault, fault, fault)
        with pytest.raises(Unclear):
            await client.query("uw_1", WIDE)
    assert server.calls["query"] == 6
    assert server.refusals == []


@pytest.mark.parametrize("fault", [each for key, each in BROKEN.items() if not key.endswith("is none")])
async def test_an_upload_is_not_repeated(server: FundusServer, tmp_path: Path, fault: Fault) -> None:
    server.next("upload", fault)
    async with FundusClient(rules_for(server)) as client:
        with pytest.raises(Unclear):
            await client.submit(study(jpeg(tmp_path / "a.jpg")))
    assert server.calls["upload"] == 1


@pytest.mark.parametrize("fault", LATE.values(), ids=LATE)
async def test_who_is_late_is_left_at_the_deadline(server: FundusServer, tmp_path: Path, fault: Fault) -> None:
    server.next("upload", fault)
    async with FundusClient(rules_for(server, timeout_s=LATE_S)) as client:
        with pytest.raises(Unclear, match="超时"):
            await client.submit(study(jpeg(tmp_path / "a.jpg")))


async def test_a_query_has_a_quarter_of_the_time(server: FundusServer) -> None:
    server.next("query", *[far.STALL] * 3)
    async with FundusClient(rules_for(server, timeout_s=LATE_S)) as client:
        with pytest.raises(Unclear, match="超时"):
            await client.query("uw_1", WIDE)
    assert server.calls["query"] == 3


async def test_an_answer_without_end_is_not_read_to_the_end(server: FundusServer) -> None:
    server.next("query", *[far.FLOOD] * 3)
    async with FundusClient(rules_for(server)) as client:
        with pytest.raises(Unclear, match="超过"):
            await client.query("uw_1", WIDE)


async def test_what_nobody_listens_to_is_unreachable(tmp_path: Path) -> None:
    with FundusServer() as gone:
        away = rules_for(gone)
    async with FundusClient(away) as client:
        with pytest.raises(Unreachable):
            await client.submit(study(jpeg(tmp_path / "a.jpg")))


@pytest.mark.parametrize("is_kept", [True, False])
async def test_an_unclear_upload_can_be_looked_up(server: FundusServer, tmp_path: Path, is_kept: bool) -> None:
    sent = study(jpeg(tmp_path / "a_R.jpg"))
    server.next("upload", replace(far.RESET, is_kept=is_kept))
    async with FundusClient(rules_for(server)) as client:
        with pytest.raises(Unclear):
            await client.submit(sent)
        assert await client.was_received(sent.study_id, WIDE) is is_kept
        server.next("query", far.PROCESSING)
        assert await client.was_received(sent.study_id, WIDE)


async def test_a_cancelled_wait_stops_at_once(server: FundusServer) -> None:
    server.next("query", *[far.PROCESSING] * 100)
    began = asyncio.Event()
    async with FundusClient(rules_for(server, poll_interval_s=600.0)) as client:
        waiting = asyncio.create_task(client.wait_for("uw_1", WIDE, on_processing=lambda *_: began.set()))
        async with asyncio.timeout(DEADLINE_S):
            await began.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting


# --- configuration and secrets ---


@pytest.mark.parametrize(
    ("missing", "ai_type"),
    [
        ("base_url", WIDE),
        ("app_id", WIDE),
        ("token", WIDE),
        ("app_id_45", AiType.GLAUCOMA),
        ("token_45", AiType.DISEASES),
    ],
)
async def test_what_is_not_configured_is_named(server: FundusServer, missing: str, ai_type: AiType) -> None:
    with pytest.raises(NotConfigured, match=rf"imaging\.fundus\.{missing}\b"):
        async with FundusClient(rules_for(server, **{missing: None})) as client:
            await client.query("uw_1", ai_type)
    assert server.calls["query"] == 0


@pytest.mark.parametrize("url", ["http://fundus.example", "https://user:pw@fundus.example", "ftp://localhost", "x"])
def test_an_address_that_would_give_pictures_away_is_refused(server: FundusServer, url: str) -> None:
    with pytest.raises(InputInvalid, match=r"imaging\.fundus\.base_url") as caught:
        FundusClient(rules_for(server, base_url=url))
    assert "pw" not in str(caught.value)


async def test_signatures_are_never_used_twice_even_within_one_millisecond(server: FundusServer) -> None:
    server.studies["uw_1"] = far.Kept("upload", APP_ID, {})
    frozen = time.time()
    async with FundusClient(rules_for(server), clock=lambda: frozen) as client:
        await asyncio.gather(*(client.query("uw_1", WIDE) for _ in range(20)))
    assert server.refusals == []


async def test_token_and_signature_are_printed_nowhere(
    server: FundusServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    sent = study(jpeg(tmp_path / "a.jpg"), patient_name="张三丰")
    late = rules_for(server, timeout_s=LATE_S)
    told = [repr(late), repr(FundusClient(late))]
    echo = Fault(code=4711, message=f"token {TOKEN} signature {'ab' * 32}")
    async with FundusClient(late) as client:
        for fault in (*BROKEN.values(), far.STALL, echo, Fault(code=90002), Fault(code=90001)):
            server.next("upload", fault)
            server.next("query", fault, fault, fault)
            for call in (client.submit(sent), client.query(sent.study_id, WIDE)):
                try:
                    await call
                except ImagingError as error:
                    told += traceback.format_exception(error)
                    hidden: BaseException | None = error
                    while hidden is not None:
                        told += [repr(hidden), str(hidden), repr(hidden.args)]
                        hidden = hidden.__cause__ or hidden.__context__
    whole = "\n".join([*told, caplog.text])
    assert "localhost" in whole, "the libraries log what they connect to"
    for secret in (TOKEN, TOKEN_45, "ab" * 32, "张三丰"):
        assert secret not in whole


@given(st.text(max_size=30))
def test_any_name_tells_some_eye(name: str) -> None:
    assert eye_of_name(name) in Eye


def test_a_certificate_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputInvalid, match=r"imaging\.fundus\.ca_file"):
        FundusClient(rules.fundus(base_url="https://fundus.example", ca_file=tmp_path / "missing.pem"))
