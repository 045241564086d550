"""What the fundus back end answers, as it came but checked: everything may be missing, nothing is made up.

An answer is ready when no part of what was asked for is still pending; ready is not good: see `StudyAnswer.is_success`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from imaging.errors import Unclear
from imaging.fundus.terms import ABSENT, DONE, MARKS, PENDING, SIGNS, AiType, Eye, eye_of_category, state_text


def _items(value: Any) -> Any:
    return [] if value is None else value


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int | float) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number == int(number) else None


def _number(value: Any) -> float | None:
    """A number, or one in text; what is neither was not reported."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


Text = Annotated[str | None, BeforeValidator(_text)]
Whole = Annotated[int | None, BeforeValidator(_whole)]
Ratio = Annotated[float | None, BeforeValidator(_number)]


def _signs(value: Any) -> Any:
    """Whatever is no 1, 0 or -1 was not reported."""
    if not isinstance(value, list):
        return ()
    return tuple(_sign(each) for each in value[: len(SIGNS)])


def _sign(value: Any) -> int | None:
    number = _whole(value)
    return number if number in (1, 0, -1) else None


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Diagnosis(_Part):
    disease: Text = None
    name: Text = None
    left_value: Text = None
    right_value: Text = None
    additional: Any = None


class Screening(_Part):
    left: Text = None
    right: Text = None


class EyeDetail(_Part):
    """others: by the index of SIGNS, shorter where less was reported. marks: as it came, still encoded, by field."""

    others: Annotated[tuple[int | None, ...], BeforeValidator(_signs)] = ()
    marks: Mapping[str, Any] = {}

    @classmethod
    def of(cls, value: Any) -> Any:
        """From the vendor's flat object."""
        if not isinstance(value, dict):
            return value
        return {"others": value.get("others"), "marks": {name: value[name] for name in MARKS if name in value}}

    def sign(self, index: int) -> int | None:
        return self.others[index] if index < len(self.others) else None


_Detail = Annotated[EyeDetail | None, BeforeValidator(EyeDetail.of)]


class UltraWide(_Part):
    status: Whole = None
    inferred_diagnoses: Annotated[tuple[Diagnosis, ...], BeforeValidator(_items)] = ()
    eye_screening: Screening | None = None
    left_detail: _Detail = None
    right_detail: _Detail = None

    def detail(self, eye: Eye) -> EyeDetail | None:
        return {Eye.LEFT: self.left_detail, Eye.RIGHT: self.right_detail}.get(eye)


class _OneEye(_Part):
    status: Whole = None
    eye_category: Whole = None

    @property
    def eye(self) -> Eye:
        return eye_of_category(self.eye_category)

    @property
    def is_real(self) -> bool:
        """False for the place of an eye of which no picture was sent."""
        return self.status != ABSENT and bool(self.model_fields_set)


class Glaucoma(_OneEye):
    ai_result: Text = None


class Description(_Part):
    ratios_cd: Ratio = Field(None, alias="ratiosCD")
    ratios_in: Ratio = Field(None, alias="ratiosIN")
    ratios_sn: Ratio = Field(None, alias="ratiosSN")
    ratios_tn: Ratio = Field(None, alias="ratiosTN")
    microaneurysms: Text = None
    bleeding: Text = None
    hard_exudation: Text = None
    soft_exudation: Text = None
    proliferation: Text = None
    vitreous: Text = None
    wart: Text = None


class DiseaseResult(_Part):
    no_abnormality: Text = None
    diabetic: Text = None
    amd: Text = Field(None, alias="AMD")
    turbid: Text = None
    hypertensive: Text = None
    tessellated_fundus: Text = None
    pathological_myopia: Text = None
    other: Text = None
    block: Text = None


class MultipleDiseases(_OneEye):
    description: Description | None = None
    result: DiseaseResult | None = None


class _Data(_Part):
    ultra_wide_result: UltraWide | None = None
    glaucoma_result_list: Annotated[tuple[Glaucoma, ...], BeforeValidator(_items)] = ()
    multiple_diseases_result_list: Annotated[tuple[MultipleDiseases, ...], BeforeValidator(_items)] = ()
    report_url: Text = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyAnswer:
    """body: all that came, untouched."""

    study_id: str
    ai_type: AiType
    ultra_wide: UltraWide | None = None
    glaucoma: tuple[Glaucoma, ...] = ()
    diseases: tuple[MultipleDiseases, ...] = ()
    report_url: str | None = None
    body: Mapping[str, Any] = field(repr=False, default_factory=dict)

    @property
    def statuses(self) -> tuple[int | None, ...]:
        """The status of every part that was asked for and of which a picture was sent."""
        if self.ai_type.is_ultra_wide:
            return (self.ultra_wide.status,) if self.ultra_wide else ()
        return tuple(each.status for each in (*self.glaucoma, *self.diseases) if each.is_real)

    @property
    def is_success(self) -> bool:
        return bool(self.statuses) and all(status == DONE for status in self.statuses)

    @property
    def state(self) -> str:
        """What became of the pictures, each state once."""
        return "、".join(dict.fromkeys(map(state_text, self.statuses))) or state_text(None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processing:
    """The study has arrived and is not done. why: for a person."""

    study_id: str
    ai_type: AiType
    why: str


def read_answer(body: Mapping[str, Any], study_id: str, ai_type: AiType) -> StudyAnswer | Processing:
    """From the body of an answer with code 0. Raises Unclear where it has another shape than agreed."""
    data = body.get("data")
    try:
        parsed = _Data.model_validate({} if data is None else data)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])
        raise Unclear(f"眼底平台的应答形状不对：data{'.' if where else ''}{where}。") from None
    answer = StudyAnswer(
        study_id=study_id,
        ai_type=ai_type,
        ultra_wide=parsed.ultra_wide_result if ai_type.is_ultra_wide else None,
        glaucoma=parsed.glaucoma_result_list if ai_type in (AiType.GLAUCOMA, AiType.GLAUCOMA_AND_DISEASES) else (),
        diseases=parsed.multiple_diseases_result_list
        if ai_type in (AiType.DISEASES, AiType.GLAUCOMA_AND_DISEASES)
        else (),
        report_url=parsed.report_url,
        body=body,
    )
    why = _pending(answer)
    return Processing(study_id=study_id, ai_type=ai_type, why=why) if why else answer


def _pending(answer: StudyAnswer) -> str:
    """What is still waited for; "" where nothing is."""
    if answer.ai_type.is_ultra_wide:
        found = answer.ultra_wide
        if found is None or (found.status is None and not found.inferred_diagnoses):
            return "还没有结果"
        return state_text(found.status) if found.status in PENDING else ""
    wanted: list[tuple[str, tuple[_OneEye, ...]]] = []
    if answer.ai_type in (AiType.GLAUCOMA, AiType.GLAUCOMA_AND_DISEASES):
        wanted.append(("青光眼", answer.glaucoma))
    if answer.ai_type in (AiType.DISEASES, AiType.GLAUCOMA_AND_DISEASES):
        wanted.append(("多病种", answer.diseases))
    # Two models of different speed: the slower one is waited for.
    for name, entries in wanted:
        real = [each for each in entries if each.is_real]
        if not real:
            return f"{name}：还没有结果"
        if pending := [each for each in real if each.status in PENDING]:
            return f"{name}：{state_text(pending[0].status)}"
    return ""
