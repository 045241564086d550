"""The seed's report, line by line, from an ultra-wide answer; 45 degrees has its own, in fundus_report_45.py.

Every word of the back end is a stranger's: it cannot break a table, forge a heading or become a link. Nothing is said
that the answer does not say.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from imaging.fundus.answer import Diagnosis, EyeDetail, StudyAnswer, UltraWide
from imaging.fundus.marks import Mark, State, marks_of
from imaging.fundus.report_45 import NOT_TOLD, report_45
from imaging.fundus.terms import DISEASES, MARKS, SIGNS, Eye
from imaging.markdown import plain, safe_link

ICONS = {"1": "⚠️ **阳性**", "0": "✅ 阴性", "-1": "❓ 不确定"}
HINT = "> 以上为 AI 辅助分析结果，不能代替诊断，请眼科医生结合临床诊断。"

Names = Sequence[tuple[str, Eye]]


def report(answer: StudyAnswer, images: Names, *, http_host: str | None = None) -> str:
    """Markdown. images: names and eyes of what was sent, if that is known. http_host: whose http links are links."""
    title = "超广角眼底 AI 分析结果" if answer.ai_type.is_ultra_wide else "45° 眼底 AI 分析结果"
    lines = [
        f"## 🔬 {title}",
        "",
        f"**图像**:{_images(answer, images)}",
        "",
        f"**状态**:{answer.state}",
        "",
        "---",
        "",
    ]
    if answer.ai_type.is_ultra_wide:
        lines += _ultra_wide(answer.ultra_wide or UltraWide())
    else:
        lines += report_45(answer)
    lines += [_pdf(answer.report_url, http_host), "", HINT]
    if answer.ai_type.is_ultra_wide:
        lines += _unseen({eye for _, eye in images})
    return "\n".join(lines) + "\n"


def _images(answer: StudyAnswer, images: Names) -> str:
    named = "、".join(f"{plain(name)}({eye.label})" for name, eye in images)
    return named or f"检查号 {answer.study_id}"


def _unseen(eyes: set[Eye]) -> Iterator[str]:
    """Both columns are always filled by the back end, also that of an eye which nobody photographed."""
    for eye, other in ((Eye.LEFT, Eye.RIGHT), (Eye.RIGHT, Eye.LEFT)):
        if eyes == {eye}:
            yield ">"
            yield f"> 只提交了{eye.label}的图像：{other.label}的内容不是检查结果。"


def _ultra_wide(found: UltraWide) -> Iterator[str]:
    yield "### 📋 推测诊断(Inferred Diagnoses)"
    yield ""
    yield "| 疾病 | 左眼 | 右眼 | 说明 |"
    yield "|------|------|------|------|"
    yield from _diagnoses(found.inferred_diagnoses)
    yield ""
    yield "### 🔍 体征判别(Eye Screening)"
    yield ""
    yield "| 眼别 | 筛查结果 |"
    yield "|------|----------|"
    screening = found.eye_screening
    yield f"| 左眼 | {_told(screening.left if screening else None)} |"
    yield f"| 右眼 | {_told(screening.right if screening else None)} |"
    yield ""
    yield "### 🧬 体征检测与分割(Eye Detail)"
    yield ""
    yield "**左眼体征**:"
    yield ""
    yield from _detail(found.detail(Eye.LEFT))
    yield ""
    yield "**右眼体征**:同上(`rightDetail` 字段)"
    yield ""
    yield from _detail(found.detail(Eye.RIGHT))
    yield ""


def _diagnoses(found: Sequence[Diagnosis]) -> Iterator[str]:
    """The template's rows in its order, then whatever else the back end named."""
    rest = list(found)
    for disease, name in DISEASES.items():
        match = next(
            (each for each in rest if disease == each.disease or (not each.disease and each.name == name)), None
        )
        if match is not None:
            rest.remove(match)
        yield _row(name, match or Diagnosis())
    for each in rest:
        yield _row(plain(each.name or each.disease or "（未命名）"), each)


def _row(name: str, found: Diagnosis) -> str:
    more = _additional(found.additional)
    return f"| {name} | {_value(found.left_value)} | {_value(found.right_value)} |{' ' if more else ''}{more} |"


def _value(value: str | None) -> str:
    if value is None or not value.strip():
        return NOT_TOLD
    return ICONS.get(value.strip()) or f"❓ {plain(value)}"


def _additional(value: Any) -> str:
    if value in (None, "", [], {}):
        return ""
    return plain(value if isinstance(value, str) else str(value))


def _told(text: str | None) -> str:
    return plain(text) if text and text.strip() else "未返回"


def _detail(detail: EyeDetail | None) -> Iterator[str]:
    for mark in marks_of(detail):
        yield f"- {MARKS[mark.name]}:`{mark.name}` {_found(mark)}"
    yield f"- 47维体征数组:`others[]`(1=有,0=无,-1=不确定) {_signs(detail)}"


def _found(mark: Mark) -> str:
    match mark.state:
        case State.MISSING:
            return "未返回"
        case State.NONE:
            return "无"
        case State.BROKEN:
            return f"无法解码（{mark.why}）"
    parts = [f"轮廓 {len(mark.contours)} 处"] if mark.contours else []
    if mark.boxes:
        scores = [box.score for box in mark.boxes if box.score is not None]
        best = f"（最高置信度 {max(scores):.2f}）" if scores else ""
        parts.append(f"检测框 {len(mark.boxes)} 个{best}")
    return "，".join(parts) or "有数据，结构未识别"


def _signs(detail: EyeDetail | None) -> str:
    values = [detail.sign(index) if detail else None for index in range(len(SIGNS))]
    if values.count(None) == len(SIGNS):
        return "未返回"
    positive = [name for (_, name), value in zip(SIGNS, values, strict=True) if value == 1]
    named = f"：{'、'.join(positive)}" if positive else ""
    counts = [f"阳性 {len(positive)} 项{named}", f"阴性 {values.count(0)} 项"]
    counts.append(f"不适用/不确定 {values.count(-1)} 项")
    if missing := values.count(None):
        counts.append(f"未返回 {missing} 项")
    return "；".join(counts)


def _pdf(url: str | None, http_host: str | None) -> str:
    if not url:
        return "📄 没有返回 PDF 报告"
    link = safe_link(url, http_host=http_host)
    return f"📄 [查看完整 AI 诊断报告 PDF]({link})" if link else "📄 PDF 报告的链接不安全，未显示"
