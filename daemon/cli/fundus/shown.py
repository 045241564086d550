"""What the commands of `orwatch fundus` are made of. Imported by them when they run: this loads the heavy libraries."""

import json
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.markup import escape

from daemon.cli.options import console
from daemon.cli.said import say
from imaging.errors import ImagingError, Unclear
from imaging.fundus.answer import Processing, StudyAnswer
from imaging.fundus.client import FundusClient, FundusRules
from imaging.fundus.drawing import marks_for, overlay
from imaging.fundus.report import report
from imaging.fundus.study import EyeImage, Study, Way, eye_of_name, plan
from imaging.fundus.terms import AiType, Eye
from imaging.pictures import check_picture

DONE, FAILED, STILL_PROCESSING = 0, 1, 3


def check_free(out: Path | None) -> None:
    """Two patients' results must not mix in one folder. Makes it, so that a result is not lost for want of one."""
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    if taken := [name for name in ("report.md", "answer.json") if (out / name).exists()]:
        raise typer.BadParameter(f"{out} 里已有 {'、'.join(taken)}，请换一个文件夹", param_hint="--out")


def looked_at(paths: Sequence[Path], eyes: Sequence[str], ai_type: AiType) -> tuple[EyeImage, ...]:
    """Every image is read to its end. eyes: of the command line."""
    if eyes and len(eyes) not in (1, len(paths)):
        raise typer.BadParameter(f"给了 {len(eyes)} 个，应为 1 个或与图像同数（{len(paths)} 个）", param_hint="--eye")
    images = []
    for index, path in enumerate(paths):
        picture = check_picture(path)
        eye = Eye[eyes[index if len(eyes) > 1 else 0].upper()] if eyes else eye_of_name(path.name)
        images.append(EyeImage(picture=picture, eye=eye))
        how = "" if eyes else "（按文件名判断）" if eye else "（文件名看不出，可用 --eye 指定）"
        say(f"{path.name}：{picture.kind} {picture.width}×{picture.height}，{eye.label}{how}")
        if ai_type.is_ultra_wide and picture.ultra_wide_note:
            say(f"提示：{picture.ultra_wide_note}")
    return tuple(images)


async def analyzed(rules: FundusRules, study: Study, *, need_report: bool) -> StudyAnswer | Processing:
    """Sent once; where it is unclear whether it arrived, the back end is asked."""
    way = plan(study.images, study.ai_type)
    if study.camera and way is Way.BASE64:
        say("提示：--camera 只随单张大于 5 MB 的上传发送，这次不发送。")
    async with FundusClient(rules) as client:
        client.check(study.ai_type)
        say(f"检查号 {study.study_id}：上传 {len(study.images)} 张图像（{way.value}）……")
        await _submitted(client, study)
        try:
            return await _waited(client, study.study_id, study.ai_type, need_report=need_report)
        except ImagingError:
            say(f"检查已送达，稍后可再查询：{_later(study.study_id, study.ai_type)}")
            raise


async def asked(
    rules: FundusRules, study_id: str, ai_type: AiType, *, need_report: bool, waits: bool
) -> StudyAnswer | Processing:
    async with FundusClient(rules) as client:
        if waits:
            return await _waited(client, study_id, ai_type, need_report=need_report)
        return await client.query(study_id, ai_type, need_report=need_report)


def show(found: StudyAnswer | Processing, images: Sequence[EyeImage], rules: FundusRules, out: Path | None) -> int:
    """Print and keep the report; the exit code."""
    if isinstance(found, Processing):
        say(f"{found.why}，还没有结果。稍后查询：{_later(found.study_id, found.ai_type)}")
        return STILL_PROCESSING
    names = [(image.picture.path.name, image.eye) for image in images]
    text = report(found, names, http_host=rules.http_host)
    typer.echo(text, nl=False)
    if out is not None:
        (out / "report.md").write_text(text, encoding="utf-8")
        (out / "answer.json").write_text(json.dumps(found.body, ensure_ascii=False, indent=2), encoding="utf-8")
        _draw_overlays(found, images, out)
        say(f"已写入 {out}")
    if not found.is_success:
        say(f"没有完整的分析结果：{found.state}。")
        return FAILED
    return DONE


async def _submitted(client: FundusClient, study: Study) -> None:
    try:
        await client.submit(study)
    except Unclear as error:
        say(f"{error.message}正在查询是否已送达……")
        try:
            if await client.was_received(study.study_id, study.ai_type):
                return
        except ImagingError:
            say(f"不知是否已送达，稍后可查询：{_later(study.study_id, study.ai_type)}")
            raise
        raise ImagingError(f"{error.message}已确认没有送达，可以再次提交。", code=error.code) from None


async def _waited(
    client: FundusClient, study_id: str, ai_type: AiType, *, need_report: bool
) -> StudyAnswer | Processing:
    show_on = console(err=True)
    with show_on.status("等待分析") as status:

        def told(state: Processing, poll: int, polls: int) -> None:
            status.update(f"等待分析：{escape(state.why)}（第 {poll} 次查询，最多 {polls} 次）")
            if not show_on.is_terminal:
                say(f"等待分析：{state.why}（{poll}/{polls}）")

        return await client.wait_for(study_id, ai_type, need_report=need_report, on_processing=told)


def _later(study_id: str, ai_type: AiType) -> str:
    return f"orwatch fundus result {study_id} --ai-type {int(ai_type)}"


def _draw_overlays(answer: StudyAnswer, images: Sequence[EyeImage], out: Path) -> None:
    eyes = [image.eye for image in images]
    for index, image in enumerate(images, start=1):
        marks, eye, why = marks_for(answer, image.eye, eyes)
        if not any(mark.is_drawable for mark in marks):
            say(f"{image.picture.path.name}：{why or '没有可画的标注'}")
            continue
        content = overlay(image.picture.path, marks, eye)
        suffix = "jpg" if content.startswith(b"\xff\xd8") else "png"
        (out / f"overlay_{index}.{suffix}").write_bytes(content)
