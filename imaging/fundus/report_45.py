"""The body of the report for 45 degrees: basics, glaucoma, diseases, lesions, and what of it needs a look."""

from collections.abc import Iterator, Mapping, Sequence

from imaging.fundus.answer import Description, DiseaseResult, MultipleDiseases, StudyAnswer
from imaging.fundus.terms import DONE, AiType, Eye, state_text
from imaging.markdown import plain

NOT_TOLD = "❓ 未返回"

# Fields of Description and DiseaseResult.
_RATIOS = {"ratios_cd": "杯盘比 C/D", "ratios_in": "盘沿比 I/N", "ratios_sn": "盘沿比 S/N", "ratios_tn": "盘沿比 T/N"}
_LESIONS = {
    "microaneurysms": "微血管瘤",
    "bleeding": "出血",
    "hard_exudation": "硬性渗出",
    "soft_exudation": "软性渗出",
    "proliferation": "增殖",
    "vitreous": "玻璃体病变",
    "wart": "玻璃膜疣",
}
_DISEASES = {
    "no_abnormality": "未见异常",
    "diabetic": "糖尿病视网膜病变",
    "amd": "年龄相关性黄斑变性",
    "turbid": "屈光介质混浊",
    "hypertensive": "高血压视网膜病变",
    "tessellated_fundus": "豹纹状眼底",
    "pathological_myopia": "病理性近视",
    "block": "血管阻塞",
    "other": "其他异常",
}
_NEGATIVE = ("无", "否", "未见")
_POSITIVE = ("有", "是", "轻度", "中度", "重度", "增殖")


def report_45(answer: StudyAnswer) -> Iterator[str]:
    yield from _basics(answer)
    if answer.ai_type is not AiType.DISEASES:
        yield from _glaucoma(answer)
    if answer.ai_type is not AiType.GLAUCOMA:
        entries = [each for each in answer.diseases if each.is_real]
        yield "### 📋 多病种分析"
        yield ""
        yield from _table("疾病", _DISEASES, [(each.eye, each.result) for each in entries])
        yield "### 🧬 病灶与视盘"
        yield ""
        yield from _table("项目", _RATIOS | _LESIONS, [(each.eye, each.description) for each in entries])
    yield "### 🩺 综合"
    yield ""
    yield from _overall(answer)
    yield ""


def _basics(answer: StudyAnswer) -> Iterator[str]:
    yield "### 📋 基本信息"
    yield ""
    yield f"- 分析类型:{answer.ai_type.label}"
    for name, entries in (("青光眼", answer.glaucoma), ("多病种", answer.diseases)):
        for each in entries:
            if each.is_real:
                yield f"- {name}({each.eye.label}):{state_text(each.status)}"
    yield ""


def _glaucoma(answer: StudyAnswer) -> Iterator[str]:
    yield "### 🔍 青光眼分析"
    yield ""
    yield "| 眼别 | 结果 |"
    yield "|------|------|"
    for each in answer.glaucoma:
        if each.is_real:
            text = each.ai_result if each.status == DONE else state_text(each.status)
            yield f"| {each.eye.label} | {plain(text) if text else NOT_TOLD} |"
    yield ""


def _table(
    what: str, names: Mapping[str, str], columns: Sequence[tuple[Eye, Description | DiseaseResult | None]]
) -> Iterator[str]:
    """One column per eye that was answered for."""
    yield f"| {what} | {' | '.join(eye.label for eye, _ in columns)} |"
    yield f"|------|{'------|' * len(columns)}"
    for key, name in names.items():
        yield f"| {name} | {' | '.join(_cell(key, getattr(found, key, None)) for _, found in columns)} |"
    yield ""


def _cell(key: str, value: str | float | None) -> str:
    if value is None or value == "":
        return NOT_TOLD
    if isinstance(value, float):
        return f"{value:.2f}"
    match _is_positive(key, value):
        case True:
            return f"⚠️ **{plain(value)}**"
        case False:
            return f"✅ {plain(value)}"
    return f"❓ {plain(value)}"


def _is_positive(key: str, value: str) -> bool | None:
    """None for a word that is neither, such as 不确定."""
    if value in _NEGATIVE:
        return key == "no_abnormality"
    if value in _POSITIVE:
        return key != "no_abnormality"
    return None


def _overall(answer: StudyAnswer) -> Iterator[str]:
    """Says again what is above and needs a look; says nothing of what was not judged."""
    lines = []
    for glaucoma in answer.glaucoma:
        if glaucoma.is_real and glaucoma.status == DONE and glaucoma.ai_result:
            lines.append(f"- {glaucoma.eye.label}:{plain(glaucoma.ai_result)}")
    for entry in answer.diseases:
        if entry.is_real and entry.status == DONE:
            marked = list(_marked(entry))
            lines.append(f"- {entry.eye.label}:{'、'.join(marked) if marked else '没有标为异常的项目'}")
    if not answer.is_success:
        lines.append("- 有的图像没有分析结果，见上面的状态")
    yield from lines or ["- 没有可用的结果"]


def _marked(entry: MultipleDiseases) -> Iterator[str]:
    for names, part in ((_DISEASES, entry.result), (_LESIONS, entry.description)):
        for key, name in names.items():
            value = getattr(part, key, None)
            if key != "no_abnormality" and isinstance(value, str) and _is_positive(key, value):
                yield f"{name}（{plain(value)}）"
