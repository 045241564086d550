"""Answers of the fundus back end as they come."""

import base64
import gzip
import json
from typing import Any

from imaging.fundus.terms import DISEASES


def packed(value: Any) -> str:
    """As mask and detection fields are encoded: gzip, then base64."""
    return base64.b64encode(gzip.compress(json.dumps(value).encode(), mtime=0)).decode()


def ultra_wide_answer(
    *,
    status: Any = 200,
    left: dict[str, str] | None = None,
    right: dict[str, str] | None = None,
    report_url: str | None = "https://reports.example/r/1.pdf?sign=a(b)",
    **details: Any,
) -> dict[str, Any]:
    """left, right: disease id -> value where it is not "0". left_detail, right_detail: fields of that eye."""
    diagnoses = [
        {
            "disease": disease,
            "name": name,
            "leftValue": (left or {}).get(disease, "0"),
            "rightValue": (right or {}).get(disease, "0"),
            "checkType": "checkbox",
            "additional": None,
        }
        for disease, name in DISEASES.items()
    ]
    result = {
        "status": status,
        "inferredDiagnoses": diagnoses,
        "eyeScreening": {"left": "未见明显异常", "right": "建议转诊"},
        "leftDetail": details.get("left_detail", {"others": [0] * 47}),
        "rightDetail": details.get("right_detail", {"others": [0] * 47}),
    }
    return ok("成功", {"ultraWideResult": result, "reportUrl": report_url})


def answer_45(
    glaucoma: list[dict[str, Any]] | None, diseases: list[dict[str, Any]] | None, report_url: str | None = None
) -> dict[str, Any]:
    data = {"glaucomaResultList": glaucoma, "multipleDiseasesResultList": diseases, "reportUrl": report_url}
    return ok("成功", data)


def ok(message: str, data: Any = None) -> dict[str, Any]:
    return {"code": 0, "message": message, "requestId": "r", "data": {} if data is None else data}
