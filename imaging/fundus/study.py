"""What is sent to the fundus back end: pictures with their eyes, the patient, and which of the two ways they go."""

import re
import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import Enum

from imaging.errors import InputInvalid, InputTooLarge
from imaging.fundus.terms import AiType, Camera, Eye
from imaging.pictures import Picture

IMAGES_MAX = 20
# The bytes of files, before base64.
TOGETHER_MAX = 5 * 2**20
FILE_MAX = 100 * 2**20

_STUDY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# A run of letters is cut where a capital follows a small letter: patientOD is two words, Optos is one.
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|_")
_TEXT_MAX = 64


class Way(Enum):
    """BASE64: all pictures in one JSON. FILE: one picture as form-data, streamed."""

    BASE64 = "base64"
    FILE = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeImage:
    picture: Picture
    eye: Eye


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """camera: told only with a file upload, the JSON has no field for it. gender: 0 unknown, 1 male, 2 female, 3 other.

    Raises InputInvalid where a field is not what the back end takes.
    """

    study_id: str
    ai_type: AiType
    images: tuple[EyeImage, ...]
    camera: Camera = Camera.AUTO
    patient_id: str | None = None
    patient_name: str | None = None
    gender: int | None = None
    birthday: date | None = None

    def __post_init__(self) -> None:
        checked_study_id(self.study_id)
        _check_text("patient_id", self.patient_id)
        _check_text("patient_name", self.patient_name)
        if self.gender not in (None, 0, 1, 2, 3):
            raise InputInvalid(
                f"gender：{self.gender!r} 无效，应为 0（未知）、1（男）、2（女）或 3（其他）。", field="gender"
            )
        if self.birthday is not None and not 1850 <= self.birthday.year <= datetime.now(UTC).year:
            raise InputInvalid(f"birthday：{self.birthday} 不是出生日期。", field="birthday", value=str(self.birthday))


def new_study_id(ai_type: AiType, now: datetime) -> str:
    """The seed's uw_<unix seconds>, and a random tail: two clerks may press the button in the same second."""
    return f"{'uw' if ai_type.is_ultra_wide else 'eye'}_{int(now.timestamp())}_{secrets.token_hex(4)}"


def checked_study_id(study_id: str) -> str:
    """Raises InputInvalid."""
    if not _STUDY_ID.fullmatch(study_id):
        shown = study_id[:_TEXT_MAX]
        raise InputInvalid(
            f"study_id：{shown!r} 无效，应为 1 到 64 个字母、数字、_、. 或 -。", field="study_id", value=shown
        )
    return study_id


def eye_of_name(name: str) -> Eye:
    """The eye that a file's name tells: OD, right or _R; OS, left or _L.

    The seed looks for these letters anywhere in the whole path, so that every photo in a folder `photos` and every file
    of an Optos is a left eye. Here they are words of the file's own name (`patientOD`, `01_R2`, `lefteye`). A name that
    tells both eyes tells none: a wrong eye is worse than an unknown one.
    """
    stem = name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0] or name
    words = _WORDS.findall(stem)
    is_right = is_left = False
    for before, word in zip(["", *words], map(str.upper, words), strict=False):
        is_right |= word == "OD" or word.startswith("RIGHT") or (before == "_" and word in ("R", "RE"))
        is_left |= word == "OS" or word.startswith("LEFT") or (before == "_" and word in ("L", "LE"))
    if is_right == is_left:
        return Eye.UNKNOWN
    return Eye.RIGHT if is_right else Eye.LEFT


def plan(images: Sequence[EyeImage], ai_type: AiType) -> Way:
    """How they travel. Raises InputInvalid for none, InputTooLarge for too many or too much, saying what to do."""
    if not images:
        raise InputInvalid("images：没有图像，至少要一张。", field="images")
    if not ai_type.is_ultra_wide:
        return _plan_45(images)
    if len(images) > IMAGES_MAX:
        raise _too_large(f"一次最多 {IMAGES_MAX} 张，收到 {len(images)} 张：请分几次提交")
    total = sum(image.picture.size for image in images)
    if total <= TOGETHER_MAX:
        return Way.BASE64
    if len(images) > 1:
        raise _too_large(f"{len(images)} 张共 {_mb(total)}，一起提交的上限 {_mb(TOGETHER_MAX)}：请逐张提交")
    if total > FILE_MAX:
        name = images[0].picture.path.name
        raise _too_large(f"{name} 有 {_mb(total)}，单张上限 {_mb(FILE_MAX)}：请压缩后再提交")
    return Way.FILE


def _plan_45(images: Sequence[EyeImage]) -> Way:
    if len(images) > 1:
        raise _too_large(f"45° 分析一次只收一张，收到 {len(images)} 张：请逐张提交")
    picture = images[0].picture
    if picture.size > TOGETHER_MAX:
        raise _too_large(
            f"{picture.path.name} 有 {_mb(picture.size)}，45° 分析上限 {_mb(TOGETHER_MAX)}：请压缩后再提交"
        )
    return Way.BASE64


def _check_text(field: str, value: str | None) -> None:
    if value is not None and (
        not 0 < len(value.strip()) <= len(value) <= _TEXT_MAX or any(unicodedata.category(c)[0] == "C" for c in value)
    ):
        raise InputInvalid(f"{field}：应为 1 到 {_TEXT_MAX} 个字符，不含控制字符。", field=field)


def _too_large(why: str) -> InputTooLarge:
    return InputTooLarge(f"images：{why}。", field="images")


def _mb(size: int) -> str:
    return f"{size / 2**20:.1f} MB" if size % 2**20 else f"{size // 2**20} MB"
