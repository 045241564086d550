"""The one table from what went wrong to HTTP status, `detail.code` and message."""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from daemon.domain import errors as domain
from daemon.storage.database import LedgerUnavailable

log = logging.getLogger(__name__)


class Detail(BaseModel):
    """Further fields depend on the code."""

    model_config = ConfigDict(extra="allow")
    code: str
    message: str
    surgery_id: str | None = None


class SurgeryClientErrorResponse(BaseModel):
    detail: Detail


class Unauthorized(Exception):
    """No key, or none that is known."""


class Forbidden(Exception):
    """The key is known, but may not do this."""


TABLE: dict[type[Exception], tuple[int, str]] = {
    domain.RecordingCannotStart: (503, "RECORDING_CANNOT_START"),
    domain.RecordingNotStopped: (503, "RECORDING_NOT_STOPPED"),
    domain.CameraAlreadyInUse: (409, "CAMERA_ALREADY_IN_USE"),
    domain.SurgeryAlreadyRunning: (409, "SURGERY_ALREADY_RUNNING"),
    domain.SurgeryNotFound: (404, "SURGERY_NOT_FOUND"),
    domain.ResultNotReady: (503, "RESULT_NOT_READY"),
    domain.NoPendingConfirmation: (404, "NO_PENDING_CONFIRMATION"),
    domain.ConfirmationNotFound: (404, "CONFIRMATION_NOT_FOUND"),
    domain.ConfirmationAlreadyResolved: (409, "CONFIRMATION_ALREADY_RESOLVED"),
    domain.ChoiceNotAnOption: (422, "CHOICE_NOT_AN_OPTION"),
    domain.PostingNotFound: (404, "POSTING_NOT_FOUND"),
    domain.PostingNotVoidable: (409, "POSTING_NOT_VOIDABLE"),
    domain.PostingAlreadyVoided: (409, "POSTING_ALREADY_VOIDED"),
    domain.ItemUnknown: (422, "ITEM_UNKNOWN"),
    domain.IdempotencyKeyReused: (409, "IDEMPOTENCY_KEY_REUSED"),
    domain.VoiceTerminalNotFound: (404, "VOICE_TERMINAL_NOT_FOUND"),
    domain.EvidenceNotFound: (404, "EVIDENCE_NOT_FOUND"),
    domain.ObjectStoreUnavailable: (503, "OBJECT_STORE_UNAVAILABLE"),
    domain.VoiceNotConfigured: (503, "BAIDU_NOT_CONFIGURED"),
    domain.TtsFailed: (503, "TTS_ERROR"),
    domain.TtsTextEmpty: (422, "TTS_TEXT_EMPTY"),
    domain.AsrFailed: (503, "ASR_ERROR"),
    domain.AnswerNotKept: (503, "MINIO_UPLOAD_FAILED"),
    domain.VoiceAudioInvalid: (422, "VOICE_AUDIO_INVALID"),
    domain.VoiceAudioEmpty: (422, "VOICE_AUDIO_EMPTY"),
    domain.VoiceAudioTooLarge: (422, "VOICE_AUDIO_TOO_LARGE"),
    domain.VoiceAudioTooLong: (422, "VOICE_AUDIO_TOO_LONG"),
    domain.VoiceAudioClipped: (422, "VOICE_AUDIO_CLIPPED"),
    domain.VoiceNoSpeech: (422, "VOICE_NO_SPEECH"),
    domain.VoiceAsrFailed: (422, "VOICE_ASR_FAILED"),
    domain.VoiceAnswerUnclear: (422, "VOICE_ANSWER_UNCLEAR"),
    domain.VoiceAnswerUnsure: (422, "VOICE_ANSWER_UNSURE"),
    domain.VoiceAnswerCancelled: (422, "VOICE_ANSWER_CANCELLED"),
    domain.ImagingNotConfigured: (503, "IMAGING_NOT_CONFIGURED"),
    domain.ImagingInputInvalid: (422, "IMAGING_INPUT_INVALID"),
    domain.ImagingRequestInvalid: (400, "IMAGING_REQUEST_INVALID"),
    domain.ImagingInputNotFound: (404, "IMAGING_INPUT_NOT_FOUND"),
    domain.ImagingBackEndAway: (503, "IMAGING_BACK_END_AWAY"),
    domain.ImagingInputTooLarge: (413, "IMAGING_INPUT_TOO_LARGE"),
    domain.ImagingPathForbidden: (403, "IMAGING_PATH_FORBIDDEN"),
    domain.ImagingJobNotFound: (404, "IMAGING_JOB_NOT_FOUND"),
    domain.ImagingJobEnded: (409, "IMAGING_JOB_ENDED"),
    domain.ImagingJobNotFailed: (409, "IMAGING_JOB_NOT_FAILED"),
    domain.ImagingResultNotReady: (409, "IMAGING_RESULT_NOT_READY"),
    domain.ImagingFileNotFound: (404, "IMAGING_FILE_NOT_FOUND"),
    domain.ImagingQueueFull: (503, "IMAGING_QUEUE_FULL"),
    domain.ImagingStorageFull: (503, "IMAGING_STORAGE_FULL"),
    domain.UltrasoundBusy: (503, "ULTRASOUND_BUSY"),
    domain.UltrasoundFailed: (503, "ULTRASOUND_FAILED"),
}
# Messages of these carry no detail of ours to the client.
FIXED: dict[type[Exception], tuple[int, str, str]] = {
    Unauthorized: (401, "UNAUTHORIZED", "缺少有效的 API 密钥，请在 X-API-Key 或 Authorization: Bearer 中提供。"),
    Forbidden: (403, "FORBIDDEN", "该 API 密钥无权执行此操作。"),
    LedgerUnavailable: (503, "LEDGER_UNAVAILABLE", "账本数据库暂不可用，请稍后重试。"),
}
HTTP = {
    400: ("BAD_REQUEST", "请求无法解析。"),
    404: ("NOT_FOUND", "没有这个接口。"),
    413: ("BODY_TOO_LARGE", "请求体超过服务端上限（server.body_max_kib）。"),
    405: ("METHOD_NOT_ALLOWED", "该接口不支持此方法。"),
}


def body(code: str, message: str, surgery_id: str | None = None, **extra: Any) -> dict[str, Any]:
    return {"detail": {"code": code, "message": message, "surgery_id": surgery_id, **extra}}


def answers(*errors: type[Exception]) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI `responses` of a route that can fail in these ways, besides 401, 403, 422, 429."""
    codes: dict[int, list[str]] = {
        400: ["BAD_REQUEST"],
        401: ["UNAUTHORIZED"],
        403: ["FORBIDDEN"],
        413: ["BODY_TOO_LARGE"],
        422: ["VALIDATION_ERROR"],
        429: ["TOO_MANY_REQUESTS"],
        503: ["LEDGER_UNAVAILABLE"],
    }
    for error in errors:
        status, code = TABLE[error]
        codes.setdefault(status, []).append(code)
    return {
        status: {"model": SurgeryClientErrorResponse, "description": "、".join(dict.fromkeys(names))}
        for status, names in sorted(codes.items())
    }


def install(app: FastAPI) -> None:
    for error in TABLE:
        app.add_exception_handler(error, _refused)
    for error in FIXED:
        app.add_exception_handler(error, _fixed)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


class AlsoInErrors(APIRoute):
    """A route whose seed has a form of its own for errors: that stands beside `detail`."""

    @staticmethod
    def also(message: str) -> dict[str, Any]:
        """message: the one of `detail`."""
        return {"message": message}


def _answer(
    request: Request, content: dict[str, Any], status: int, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    route = request.scope.get("route")
    if isinstance(route, AlsoInErrors):
        content |= route.also(content["detail"]["message"])
    return JSONResponse(content, status, headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, domain.Refused)
    status, code = TABLE[type(error)]
    surgery_id = error.surgery_id or request.path_params.get("surgery_id")
    return _answer(request, body(code, error.message, surgery_id, **error.extra), status)


async def _fixed(request: Request, error: Exception) -> JSONResponse:
    status, code, message = FIXED[type(error)]
    if isinstance(error, LedgerUnavailable):
        log.error("ledger unavailable: %s. %s", error, error.hint)
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return _answer(request, body(code, message, request.path_params.get("surgery_id")), status, headers)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = [
        {
            "field": ".".join(str(part) for part in problem["loc"] if part not in ("body", "path", "query")) or "body",
            "message": problem["msg"],
            "value": _short(problem.get("input")),
        }
        for problem in error.errors()
    ]
    told = "；".join(f"{p['field']}：{p['message']}（收到 {p['value']}）" for p in problems)
    surgery_id = request.path_params.get("surgery_id")
    return _answer(request, body("VALIDATION_ERROR", f"参数校验失败：{told}", surgery_id, errors=problems), 422)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code, message = HTTP.get(error.status_code, ("HTTP_ERROR", str(error.detail)))
    return _answer(request, body(code, message), error.status_code, error.headers)


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    """A bug: the client learns that, the log learns where."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(request, body("INTERNAL_ERROR", "服务内部错误，请联系运维。"), 500)


def _short(value: Any) -> str:
    text = repr(value)
    # What cannot be encoded must not turn a 422 into a 500.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= 80 else text[:77] + "..."
