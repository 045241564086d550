"""The fundus back end as steps of a job: a study is sent once, then asked for until it is done."""

import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from daemon.bridge import off_loop
from daemon.domain.imaging import Job, JobKind
from daemon.imaging.jobs.folder import MADE
from daemon.imaging.jobs.steps import Done, NotYet, Step, Work
from imaging.errors import Failed
from imaging.fundus.answer import Processing, StudyAnswer
from imaging.fundus.client import FundusClient
from imaging.fundus.drawing import marks_for, overlay
from imaging.fundus.report import report
from imaging.fundus.study import EyeImage, Study, eye_of_name, plan
from imaging.fundus.terms import DONE, SIGNS, AiType, Camera, Eye
from imaging.markdown import safe_link
from imaging.pictures import Kind, Picture, check_picture

EYES = {"left": Eye.LEFT, "right": Eye.RIGHT, "unknown": Eye.UNKNOWN}
_CAMERAS = {"auto": Camera.AUTO, "optos": Camera.OPTOS, "zeiss": Camera.ZEISS}
_GENDERS = {"unknown": 0, "male": 1, "female": 2, "other": 3}


class FundusGateway:
    kind = JobKind.FUNDUS
    hint = "请先在眼底平台上核对该检查，再决定是否重试。"

    def __init__(self, client: FundusClient) -> None:
        self._client = client
        self._rules = client.rules
        self.steps = (
            Step(
                name="upload_study",
                title="上传图像",
                run=self._upload,
                is_repeatable=False,
                recall=self._recall,
            ),
            Step(name="query_result", title="查询分析结果", run=self._query),
        )

    async def close(self) -> None:
        await self._client.close()

    async def accept(self, inputs: Mapping[str, Any], files: Sequence[tuple[str, Path]]) -> Mapping[str, Any]:
        """inputs: as StudyRequest has them."""
        ai_type = AiType(int(inputs["ai_type"]))
        self._client.check(ai_type)
        eyes = [EYES[eye] for eye in inputs["eyes"]] or [eye_of_name(name) for name, _ in files]
        pictures = [await off_loop(check_picture, path) for _, path in files]
        images = [
            {
                "name": name,
                "eye": eye.name.lower(),
                "kind": picture.kind.value,
                "width": picture.width,
                "height": picture.height,
                "size": picture.size,
            }
            for (name, _), eye, picture in zip(files, eyes, pictures, strict=True)
        ]
        accepted = {
            **inputs,
            "ai_type": int(ai_type),
            "images": images,
            "notes": [note for each in pictures if ai_type.is_ultra_wide and (note := each.ultra_wide_note)],
        }
        del accepted["eyes"]
        study = _study("study", accepted, [path for _, path in files])
        plan(study.images, ai_type)
        return accepted

    async def _upload(self, work: Work) -> Done:
        study = _study(study_id_of(work.job), work.job.inputs, work.paths)
        way = await self._client.submit(study)
        return Done(output={"way": way.value}, message=f"图像已上传，检查号 {study.study_id}")

    async def _recall(self, work: Work) -> Done | None:
        study_id, ai_type = study_id_of(work.job), AiType(work.job.inputs["ai_type"])
        if not await self._client.was_received(study_id, ai_type):
            return None
        return Done(output={"way": None}, message=f"图像已在平台上，检查号 {study_id}")

    async def _query(self, work: Work) -> Done | NotYet:
        inputs = work.job.inputs
        ai_type = AiType(inputs["ai_type"])
        found = await self._client.query(study_id_of(work.job), ai_type, need_report=inputs["need_report"])
        if isinstance(found, Processing):
            return NotYet(
                wait_s=self._rules.poll_interval_s,
                message=f"{found.why}，稍后再查",
                polls_max=self._rules.polls(ai_type),
            )
        if DONE not in found.statuses:
            codes = "、".join(dict.fromkeys(str(status) for status in found.statuses))
            raise Failed(f"{found.state}（状态 {codes or '无'}）。", code=codes[:64])
        result = await off_loop(self._written, work, found)
        return Done(output={}, message=found.state, result=result)

    def _written(self, work: Work, answer: StudyAnswer) -> dict[str, Any]:
        """What a person looks at, in the job's folder; what a program reads, as the result. Blocking."""
        made = work.folder / MADE
        made.mkdir(parents=True, exist_ok=True)
        body = json.dumps(answer.body, ensure_ascii=False)
        (made / "answer.json").write_text(body, encoding="utf-8")
        images = [(each["name"], Eye[each["eye"].upper()]) for each in work.job.inputs["images"]]
        overlays, undrawn = _overlays(answer, images, work.paths, made)
        ultra_wide = answer.ultra_wide
        return {
            "study_id": answer.study_id,
            "ai_type": int(answer.ai_type),
            "state": answer.state,
            "is_success": answer.is_success,
            "report": report(answer, images, http_host=self._rules.http_host),
            "report_url": safe_link(answer.report_url, http_host=self._rules.http_host),
            "diagnoses": [
                {"disease": each.disease, "name": each.name, "left": each.left_value, "right": each.right_value}
                for each in (ultra_wide.inferred_diagnoses if ultra_wide else ())
            ],
            "signs": {eye.name.lower(): _signs(answer, eye) for eye in (Eye.LEFT, Eye.RIGHT)},
            "overlays": overlays,
            "notes": [*work.job.inputs["notes"], *undrawn],
        }


def study_id_of(job: Job) -> str:
    """The study id comes of the job alone, so that it is the same after every restart; the seed begins it so."""
    prefix = "uw" if AiType(job.inputs["ai_type"]).is_ultra_wide else "eye"
    return f"{prefix}_{int(job.created_at.timestamp())}_{job.id.hex[:8]}"


def _study(study_id: str, inputs: Mapping[str, Any], paths: Sequence[Path]) -> Study:
    """Raises InputInvalid."""
    images = tuple(
        EyeImage(
            picture=Picture(
                path=path, kind=Kind(each["kind"]), width=each["width"], height=each["height"], size=each["size"]
            ),
            eye=Eye[each["eye"].upper()],
        )
        for each, path in zip(inputs["images"], paths, strict=True)
    )
    birthday, gender = inputs["patient_birthday"], inputs["patient_gender"]
    return Study(
        study_id=study_id,
        ai_type=AiType(inputs["ai_type"]),
        images=images,
        camera=_CAMERAS[inputs["camera"]],
        patient_id=inputs["patient_id"],
        patient_name=inputs["patient_name"],
        gender=_GENDERS[gender] if gender is not None else None,
        birthday=date.fromisoformat(birthday) if birthday else None,
    )


def _overlays(
    answer: StudyAnswer, images: Sequence[tuple[str, Eye]], paths: Sequence[Path], made: Path
) -> tuple[list[int], list[str]]:
    """The numbers of the pictures that were drawn over, and why others could not be."""
    drawn, notes, eyes = list[int](), list[str](), [eye for _, eye in images]
    for number, ((name, eye), path) in enumerate(zip(images, paths, strict=True), start=1):
        marks, side, why = marks_for(answer, eye, eyes)
        if why:
            notes.append(f"{name}：{why}。")
        if any(mark.is_drawable for mark in marks):
            picture = overlay(path, marks, side)
            suffix = "png" if picture.startswith(b"\x89PNG") else "jpg"
            (made / f"overlay_{number:02d}.{suffix}").write_bytes(picture)
            drawn.append(number)
    return drawn, notes


def _signs(answer: StudyAnswer, eye: Eye) -> dict[str, int]:
    """By English id, those that were reported."""
    detail = answer.ultra_wide.detail(eye) if answer.ultra_wide else None
    if detail is None:
        return {}
    values = {name: detail.sign(index) for index, (name, *_) in enumerate(SIGNS)}
    return {name: value for name, value in values.items() if value is not None}
