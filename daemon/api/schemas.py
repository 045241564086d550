"""What travels over HTTP. Names and fields of the six seed routes are a contract with the HIS."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from daemon.domain.confirmation import Confirmation, ConfirmationState
from daemon.domain.facts import Fact, FactKind
from daemon.domain.ledger import PostingKind, Source
from daemon.domain.surgery import SurgeryState

SixDigits = Annotated[str, Field(pattern=r"^[0-9]{6}$", description="6 位数字", examples=["123456"])]
CameraId = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
DoctorId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=64)]


Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class _In(BaseModel):
    # A misspelt optional field would silently mean "all candidates".
    model_config = ConfigDict(extra="forbid")


class SurgeryStartRequest(_In):
    surgery_id: SixDigits
    camera_ids: list[CameraId] = Field(min_length=1, max_length=64, examples=[["or-cam-01", "or-cam-02"]])
    candidate_consumables: list[Word] | None = Field(
        None, max_length=5000, description="名称、别名或产品编码；缺省或 [] 时使用全部候选", examples=[["纱布", "缝线"]]
    )


class SurgeryEndRequest(_In):
    surgery_id: SixDigits


class SurgeryApiResponse(BaseModel):
    surgery_id: str
    status: Literal["accepted"] = "accepted"
    message: str


class ResultDetail(BaseModel):
    item_id: str
    item_name: str
    qty: int
    doctor_id: str
    timestamp: datetime


class ResultDetailWithStatus(ResultDetail):
    status: Literal["booked", "pending"]


class ResultSummary(BaseModel):
    item_id: str
    item_name: str
    total_quantity: int = Field(ge=0)


class SurgeryResultResponse(BaseModel):
    surgery_id: str
    status: Literal["completed"] = "completed"
    message: str
    details: list[ResultDetailWithStatus | ResultDetail]
    summary: list[ResultSummary]


class PendingOption(BaseModel):
    label: str
    confidence: float


class SurgeryPendingConfirmationResponse(BaseModel):
    surgery_id: str
    confirmation_id: str
    prompt_text: str
    prompt_audio_mp3_base64: str
    options: list[PendingOption]
    model_top1_label: str
    model_top1_confidence: float
    created_at: datetime


class ChooseRequest(_In):
    """Either a label of the question's options, or rejected: true."""

    label: Word | None = None
    rejected: bool = False
    doctor_id: DoctorId | None = None

    @model_validator(mode="after")
    def _one_answer(self) -> Self:
        if (self.label is None) != self.rejected:
            raise ValueError("expected exactly one of label and rejected: true")
        return self


class SurgeryResolveResponse(BaseModel):
    surgery_id: str
    confirmation_id: str
    status: Literal["accepted"] = "accepted"
    message: str
    resolved_label: str | None
    rejected: bool
    asr_text: str | None
    asr_provider: str | None = Field(None, description="语音由谁识别；触屏答复为 null")
    audio_object_key: str | None


class CorrectionRequest(_In):
    """Add one consumable that was not seen, void one posting that is wrong, or settle a question left open."""

    action: Literal["add", "void", "settle"]
    item: Word | None = Field(None, description="add：名称、别名或产品编码", examples=["纱布"])
    posting_id: UUID | None = Field(None, description="void：要作废的记账行")
    confirmation_id: UUID | None = Field(None, description="settle：手术结束时仍未答复的待确认项")
    label: Word | None = Field(None, description="settle：确认的候选项")
    rejected: bool = Field(False, description="settle：否认全部候选")
    reason: Reason = Field(description="1 至 500 个字符", examples=["画面被遮挡"])
    doctor_id: DoctorId = Field(examples=["D1001"])

    @model_validator(mode="after")
    def _what_the_action_needs(self) -> Self:
        given = {
            "item": self.item is not None,
            "posting_id": self.posting_id is not None,
            "confirmation_id": self.confirmation_id is not None,
            "label or rejected: true": (self.label is not None) != self.rejected,
        }
        needs = {
            "add": {"item"},
            "void": {"posting_id"},
            "settle": {"confirmation_id", "label or rejected: true"},
        }[self.action]
        if {name for name, is_given in given.items() if is_given} != needs or (self.label and self.rejected):
            raise ValueError(f"expected with {self.action} exactly: {' and '.join(sorted(needs))}")
        return self


class CorrectionResponse(BaseModel):
    """posting_id: of the row that was appended. voids: the row that no longer counts."""

    surgery_id: str
    status: Literal["accepted"] = "accepted"
    message: str
    posting_id: UUID
    item_id: str
    item_name: str
    qty: int
    voids: UUID | None


class Question(BaseModel):
    """A confirmation as the surgery page shows it: without audio, whatever its state."""

    confirmation_id: UUID
    state: ConfirmationState
    prompt_text: str
    options: list[PendingOption]
    model_top1_label: str
    model_top1_confidence: float
    created_at: datetime
    settled_at: datetime | None
    settled_by: str | None
    resolved_label: str | None


class SurgeryRow(BaseModel):
    surgery_id: str
    state: SurgeryState
    room: str | None
    voice_terminal: str | None
    cameras: list[str]
    candidates: list[str]
    started_at: datetime
    ended_at: datetime | None


class SurgeryPage(BaseModel):
    surgeries: list[SurgeryRow]
    limit: int
    offset: int


class SurgeryOverview(SurgeryRow):
    summary: list[ResultSummary]
    questions: list[Question]


class LedgerRow(BaseModel):
    posting_id: UUID
    kind: PostingKind
    item_id: str
    item_name: str
    qty: int
    doctor_id: str
    source: Source
    timestamp: datetime
    posted_at: datetime
    sighting_id: UUID | None
    confirmation_id: UUID | None
    voids: UUID | None
    voided_by: UUID | None
    reason: str | None


class SurgeryLedger(BaseModel):
    surgery_id: str
    postings: list[LedgerRow]


class EventScore(BaseModel):
    label: str
    score: float


class Event(BaseModel):
    """One fact, as the events WebSocket sends it. seq grows; send the last one as ?after= to go on from there."""

    seq: int
    type: FactKind
    surgery_id: str
    at: datetime
    timestamp: datetime | None
    camera: str | None
    item_id: str | None
    item_name: str | None
    qty: int
    doctor_id: str | None
    top: list[EventScore]
    reason: str | None
    posting_id: UUID | None
    confirmation_id: UUID | None
    sighting_id: UUID | None
    evidence: str | None
    voids: UUID | None


class HealthResponse(BaseModel):
    status: Literal["ok", "degraded"]
    database: Literal["connected", "unavailable"]


class ComponentState(BaseModel):
    ok: bool
    since: datetime
    why: str


class ArchiveLag(BaseModel):
    facts: int = Field(description="尚未确认已归档的事实数")
    seconds: float = Field(description="其中最早一条已等待的秒数")
    last_error: str = Field(description="最近一次失败的原因；已恢复则为空")


class ReadyResponse(BaseModel):
    ready: bool
    version: str
    model: str
    provider: str
    components: dict[str, ComponentState]
    archive_lag: ArchiveLag | None = Field(None, description="未配置归档数据库时为 null")


def question(confirmation: Confirmation) -> Question:
    return Question(
        confirmation_id=confirmation.id,
        state=confirmation.state,
        prompt_text=confirmation.prompt_text,
        options=options(confirmation),
        model_top1_label=confirmation.model_top1_label,
        model_top1_confidence=confirmation.model_top1_confidence,
        created_at=confirmation.created_at,
        settled_at=confirmation.settled_at,
        settled_by=confirmation.settled_by,
        resolved_label=confirmation.chosen_label,
    )


def options(confirmation: Confirmation) -> list[PendingOption]:
    return [PendingOption(label=option.label, confidence=option.confidence) for option in confirmation.options]


def event(fact: Fact) -> Event:
    return Event(
        seq=fact.seq,
        type=fact.kind,
        surgery_id=fact.surgery_id,
        at=fact.at,
        timestamp=fact.timestamp,
        camera=fact.camera or None,
        item_id=fact.item.item_id if fact.item else None,
        item_name=fact.item.item_name if fact.item else None,
        qty=fact.qty,
        doctor_id=fact.doctor_id or None,
        top=[EventScore(label=score.label, score=score.score) for score in fact.top],
        reason=fact.reason or None,
        posting_id=fact.posting_id,
        confirmation_id=fact.confirmation_id,
        sighting_id=fact.sighting_id,
        evidence=fact.evidence or None,
        voids=fact.voids,
    )
