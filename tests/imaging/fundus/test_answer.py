"""When an answer is one, and what is left of one that is not as agreed."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.errors import Unclear
from imaging.fundus.answer import EyeDetail, Processing, StudyAnswer, read_answer
from imaging.fundus.terms import DISEASES, MARKS, SIGNS, STATES, AiType, Eye, eye_of_category, state_text
from tests.servers.fundus_answers import answer_45, ultra_wide_answer

WIDE, BOTH = AiType.ULTRA_WIDE, AiType.GLAUCOMA_AND_DISEASES
DONE = {"status": 200, "eyeCategory": 0}
WAITING = {"status": -1, "eyeCategory": 0}
ABSENT = {"status": 404, "eyeCategory": 1}


def read(body: dict[str, Any], ai_type: AiType = WIDE) -> StudyAnswer | Processing:
    return read_answer(body, "s", ai_type)


def test_the_tables_are_whole() -> None:
    assert (len(DISEASES), len(SIGNS), len(MARKS)) == (23, 47, 10)
    assert len({sign for sign, _ in SIGNS}) == 47
    assert (SIGNS[0][0], SIGNS[27][0], SIGNS[46][0]) == ("refractiveMediaOpacity", "retinalTear", "retinalVasculitis")
    assert set(STATES) == {200, 0, -1, -2, -3, -4, 404}


def test_eyes_are_counted_otherwise_in_an_answer() -> None:
    assert [eye_of_category(each) for each in (0, 1, 2, None)] == [Eye.LEFT, Eye.RIGHT, Eye.UNKNOWN, Eye.UNKNOWN]
    assert (int(Eye.UNKNOWN), int(Eye.LEFT), int(Eye.RIGHT)) == (0, 1, 2)


@pytest.mark.parametrize("status", [0, -1])
def test_a_state_that_is_not_final_is_waited_for(status: int) -> None:
    found = read(ultra_wide_answer(status=status))
    assert isinstance(found, Processing)
    assert found.why == STATES[status]


@pytest.mark.parametrize("status", [200, -2, -3, -4, 404, 999])
def test_every_other_state_ends_the_waiting_and_only_one_is_good(status: int) -> None:
    found = read(ultra_wide_answer(status=status))
    assert isinstance(found, StudyAnswer)
    assert found.is_success is (status == 200)
    assert found.state == state_text(status)


@pytest.mark.parametrize(
    "data", [None, {}, {"ultraWideResult": None}, {"ultraWideResult": {}}, {"ultraWideResult": {"status": None}}]
)
def test_success_without_a_result_is_not_ready(data: Any) -> None:
    assert isinstance(read({"code": 0, "data": data}), Processing)


def test_a_result_without_a_state_is_shown_and_is_no_success() -> None:
    found = read(ultra_wide_answer(status=None))
    assert isinstance(found, StudyAnswer)
    assert not found.is_success
    assert found.state == "未返回状态"


@pytest.mark.parametrize(
    ("glaucoma", "diseases", "is_ready"),
    [
        ([DONE], [DONE], True),
        ([DONE], [WAITING], False),
        ([WAITING], [DONE], False),
        ([DONE, ABSENT], [ABSENT, DONE], True),
        ([DONE], [ABSENT], False),
        ([DONE], [], False),
        ([DONE], None, False),
        ([{}], [DONE], False),
        ([{"status": -2, "eyeCategory": 0}], [{"status": -4, "eyeCategory": 0}], True),
        ([{"status": "200", "eyeCategory": "1"}], [DONE], True),
    ],
)
def test_both_models_of_45_degrees_are_waited_for(glaucoma: Any, diseases: Any, is_ready: bool) -> None:
    assert isinstance(read(answer_45(glaucoma, diseases), BOTH), StudyAnswer) is is_ready


def test_only_the_model_that_was_asked_for_is_waited_for() -> None:
    assert isinstance(read(answer_45([DONE], None), AiType.GLAUCOMA), StudyAnswer)
    assert isinstance(read(answer_45(None, [DONE]), AiType.DISEASES), StudyAnswer)
    assert isinstance(read(answer_45(None, [DONE]), AiType.GLAUCOMA), Processing)


def test_one_eye_that_failed_makes_no_success() -> None:
    found = read(answer_45([DONE], [DONE, {"status": -3, "eyeCategory": 1}]), BOTH)
    assert isinstance(found, StudyAnswer)
    assert not found.is_success
    assert found.state == "处理成功、屈光介质混浊，无法分析"


def test_short_long_and_strange_signs() -> None:
    detail = EyeDetail.model_validate(EyeDetail.of({"others": [1, 0, -1, "1", True, None, 7, 0.0, "x"]}))
    assert [detail.sign(index) for index in range(10)] == [1, 0, -1, 1, None, None, None, 0, None, None]
    assert len(EyeDetail.model_validate(EyeDetail.of({"others": [0] * 60})).others) == 47
    assert EyeDetail.model_validate(EyeDetail.of({"others": "all"})).others == ()


def test_what_was_not_expected_is_ignored_and_what_is_missing_is_none() -> None:
    body = ultra_wide_answer()
    result = body["data"]["ultraWideResult"]
    result["inferredDiagnoses"] = [{"disease": "VKH", "leftValue": 1, "more": {}}]
    result["eyeScreening"] = result["leftDetail"] = None
    found = read(body)
    assert isinstance(found, StudyAnswer)
    assert found.ultra_wide is not None
    [diagnosis] = found.ultra_wide.inferred_diagnoses
    assert (diagnosis.left_value, diagnosis.right_value, diagnosis.name) == ("1", None, None)
    assert found.ultra_wide.left_detail is None
    assert found.body is body


@pytest.mark.parametrize(
    "data",
    [[], "x", {"ultraWideResult": [1]}, {"ultraWideResult": {"status": 200, "inferredDiagnoses": ["x"]}}],
)
def test_another_shape_is_no_answer(data: Any) -> None:
    with pytest.raises(Unclear, match="形状不对：data"):
        read({"code": 0, "data": data})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["status", "leftDetail", "others", "inferredDiagnoses", "eyeScreening", "left", "eyeCategory"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(wide=JSON, glaucoma=JSON, url=JSON)
def test_whatever_comes_is_an_answer_or_unclear(wide: Any, glaucoma: Any, url: Any) -> None:
    body = {"code": 0, "data": {"ultraWideResult": wide, "glaucomaResultList": glaucoma, "reportUrl": url}}
    for ai_type in AiType:
        with contextlib.suppress(Unclear):
            assert read(body, ai_type)
