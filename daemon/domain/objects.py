"""What is kept beside the ledger: pictures and clips that show what was booked, questions and answers as sound."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class ObjectKind(StrEnum):
    PICTURE = "picture"
    CLIP = "clip"
    QUESTION = "question"
    ANSWER = "answer"


class ObjectState(StrEnum):
    WAITING = "waiting"
    STORED = "stored"
    LOST = "lost"
    EXPIRED = "expired"


MEDIA_TYPES = {
    ObjectKind.PICTURE: "image/jpeg",
    ObjectKind.CLIP: "video/mp4",
    ObjectKind.QUESTION: "audio/mpeg",
    ObjectKind.ANSWER: "audio/wav",
}
ENDINGS = {ObjectKind.PICTURE: "jpg", ObjectKind.CLIP: "mp4", ObjectKind.QUESTION: "mp3", ObjectKind.ANSWER: "wav"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptObject:
    """A row of `objects`. size, sha256: None for what was lost before it was written. why: of a lost one."""

    key: str
    run_id: UUID
    kind: ObjectKind
    content_type: str
    state: ObjectState
    created_at: datetime
    changed_at: datetime
    size: int | None = None
    sha256: str | None = None
    sighting_id: UUID | None = None
    confirmation_id: UUID | None = None
    why: str = ""


def evidence_key(surgery_id: str, run_id: UUID, sighting_id: UUID, kind: ObjectKind = ObjectKind.PICTURE) -> str:
    """The same for the same sighting, always: known before the picture is."""
    return f"{surgery_id}/{run_id.hex}/{sighting_id}.{ENDINGS[kind]}"


def question_key(surgery_id: str, run_id: UUID, confirmation_id: UUID) -> str:
    return f"{surgery_id}/{run_id.hex}/{confirmation_id}.{ENDINGS[ObjectKind.QUESTION]}"


def answer_key(surgery_id: str, run_id: UUID, confirmation_id: UUID, answer_id: UUID) -> str:
    """A question may be answered more than once before it is settled."""
    return f"{surgery_id}/{run_id.hex}/{confirmation_id}-{answer_id.hex[:8]}.{ENDINGS[ObjectKind.ANSWER]}"
