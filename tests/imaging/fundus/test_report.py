"""The report beside the seed's template, and a back end that writes Markdown of its own."""

import re
from typing import Any

import pytest

from imaging.fundus.answer import StudyAnswer, read_answer
from imaging.fundus.report import report
from imaging.fundus.terms import STATES, AiType, Eye
from imaging.markdown import plain, safe_link
from tests.servers.fundus_answers import answer_45, packed, ultra_wide_answer

# Copied from the seed. <...> is filled; a line of the eye's details is followed by what was found.
TEMPLATE = """
## 🔬 超广角眼底 AI 分析结果
**图像**:<文件名>(<左眼/右眼>)
**状态**:<处理状态>
---
### 📋 推测诊断(Inferred Diagnoses)
| 疾病 | 左眼 | 右眼 | 说明 |
|------|------|------|------|
| 视网膜动脉阻塞 | <leftValue> | <rightValue> | |
| 视网膜脱离 | <leftValue> | <rightValue> | |
| 视网膜裂孔 | <leftValue> | <rightValue> | |
| 视网膜脉络膜肿物 | <leftValue> | <rightValue> | |
| 视网膜周边变性 | <leftValue> | <rightValue> | |
| 先天性视盘异常 | <leftValue> | <rightValue> | |
| 大视杯(C/D>0.3) | <leftValue> | <rightValue> | |
| 视神经萎缩 | <leftValue> | <rightValue> | |
| 黄斑前膜 | <leftValue> | <rightValue> | |
| 黄斑浆液性脱离 | <leftValue> | <rightValue> | |
| 黄斑裂孔 | <leftValue> | <rightValue> | |
| 星状玻璃体变性 | <leftValue> | <rightValue> | |
| 玻璃体后脱离 | <leftValue> | <rightValue> | |
| 其他玻璃体异常/出血/混浊 | <leftValue> | <rightValue> | |
| 糖尿病视网膜病变(PDR) | <leftValue> | <rightValue> | |
| 糖尿病视网膜病变(NPDR) | <leftValue> | <rightValue> | |
| 视网膜色素变性 | <leftValue> | <rightValue> | |
| 病理性近视 | <leftValue> | <rightValue> | |
| 视网膜中央静脉阻塞 | <leftValue> | <rightValue> | |
| 视网膜分支静脉阻塞 | <leftValue> | <rightValue> | |
| 湿性年龄相关性黄斑变性 | <leftValue> | <rightValue> | |
| 干性年龄相关性黄斑变性 | <leftValue> | <rightValue> | |
| VKH | <leftValue> | <rightValue> | |
### 🔍 体征判别(Eye Screening)
| 眼别 | 筛查结果 |
|------|----------|
| 左眼 | <left> |
| 右眼 | <right> |
### 🧬 体征检测与分割(Eye Detail)
**左眼体征**:
- 出血/渗出掩膜:`hemohedgeMask`
- 棉絮斑掩膜:`cottonWoolSpotMask`
- 硬性渗出掩膜:`hardExudateMask`
- 新生血管掩膜:`neovascularizationMask`
- 高度近视视盘:`highMyopiaOpticDisc`
- 黄斑前膜:`macularEpiretinalMembrane`
- 视网膜纤维膜:`retinalFibrousMembrane`
- 视网膜裂孔:`retinalHole`
- 视网膜脱离:`retinalDetachment`
- 陈旧色素病灶:`retinalOldPigmentLesion`
- 47维体征数组:`others[]`(1=有,0=无,-1=不确定)
**右眼体征**:同上(`rightDetail` 字段)
<details>
📄 [查看完整 AI 诊断报告 PDF](<reportUrl>)
""".strip().splitlines()
DETAILS = [line for line in TEMPLATE if line.startswith("- ")]
POSITIVE, NEGATIVE, UNSURE, NOT_TOLD = "⚠️ **阳性**", "✅ 阴性", "❓ 不确定", "❓ 未返回"


def answer(body: dict[str, Any], ai_type: AiType = AiType.ULTRA_WIDE) -> StudyAnswer:
    found = read_answer(body, "uw_1", ai_type)
    assert isinstance(found, StudyAnswer)
    return found


def lines(body: dict[str, Any], images: Any = (("a_OD.jpg", Eye.RIGHT),), **more: Any) -> list[str]:
    """Without the blank ones, which Markdown needs and the template does not show."""
    return [line for line in report(answer(body), images, **more).splitlines() if line]


def row(body: dict[str, Any], name: str) -> list[str]:
    [found] = [line for line in lines(body) if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", found)[1:-1]]


def test_the_report_lies_line_by_line_beside_the_template() -> None:
    made = lines(ultra_wide_answer())
    wanted = TEMPLATE[:-2] + DETAILS + TEMPLATE[-1:]

    for got, want in zip(made, wanted, strict=False):
        pattern = ".+".join(map(re.escape, re.split(r"<[^<>]+>", want)))
        assert re.fullmatch(pattern + (" .+" if want.startswith("- ") else ""), got), (got, want)
    assert made[len(wanted) :] == [
        "> 以上为 AI 辅助分析结果，不能代替诊断，请眼科医生结合临床诊断。",
        ">",
        "> 只提交了右眼的图像：左眼的内容不是检查结果。",
    ]


def test_a_filled_report_says_what_was_found() -> None:
    others = [0] * 47
    others[5], others[27], others[0] = 1, 1, -1
    body = ultra_wide_answer(
        left={"RetinalHole": "1"},
        right={"VKH": "-1"},
        left_detail={
            "others": others,
            "hemohedgeMask": packed([[[1, 1], [5, 1], [5, 5]], [[7, 7], [9, 7], [9, 9]]]),
            "cottonWoolSpotMask": "",
            "retinalHole": packed([{"bbox": [1, 2, 3, 4], "score": 0.5}, {"bbox": [1, 2, 3, 4], "score": 0.876}]),
            "hardExudateMask": "broken!",
            "retinalDetachment": packed({"version": 1}),
        },
        right_detail=None,
    )
    made = lines(body, (("a_OS.jpg", Eye.LEFT), ("b.jpg", Eye.UNKNOWN)))

    assert made[1] == "**图像**:a_OS.jpg(左眼)、b.jpg(未知)"
    assert made[2] == "**状态**:处理成功"
    assert row(body, "视网膜裂孔") == ["视网膜裂孔", POSITIVE, NEGATIVE, ""]
    assert row(body, "VKH") == ["VKH", NEGATIVE, UNSURE, ""]
    left = made[made.index("**左眼体征**:") + 1 :]
    assert left[0] == "- 出血/渗出掩膜:`hemohedgeMask` 轮廓 2 处"
    assert left[1] == "- 棉絮斑掩膜:`cottonWoolSpotMask` 无"
    assert left[2] == "- 硬性渗出掩膜:`hardExudateMask` 无法解码（既不是 JSON 也不是 base64）"
    assert left[3] == "- 新生血管掩膜:`neovascularizationMask` 未返回"
    assert left[7] == "- 视网膜裂孔:`retinalHole` 检测框 2 个（最高置信度 0.88）"
    assert left[8] == "- 视网膜脱离:`retinalDetachment` 有数据，结构未识别"
    assert left[10] == (
        "- 47维体征数组:`others[]`(1=有,0=无,-1=不确定) 阳性 2 项：玻璃膜疣、视网膜裂孔；阴性 44 项；不适用/不确定 1 项"
    )
    right = made[made.index("**右眼体征**:同上(`rightDetail` 字段)") + 1 :]
    assert all(line.endswith("未返回") for line in right[:11])


@pytest.mark.parametrize("eyes", [(), (Eye.LEFT, Eye.RIGHT), (Eye.LEFT, Eye.UNKNOWN), (Eye.UNKNOWN,)])
def test_no_eye_is_called_unseen_that_may_have_been_sent(eyes: tuple[Eye, ...]) -> None:
    made = lines(ultra_wide_answer(), [("a.jpg", eye) for eye in eyes])
    assert "请眼科医生" in made[-1]


def test_short_signs_are_not_told_and_not_negative() -> None:
    made = "\n".join(lines(ultra_wide_answer(left_detail={"others": [1, 0, 9]})))
    assert "阳性 1 项：屈光介质混浊；阴性 1 项；不适用/不确定 0 项；未返回 45 项" in made


@pytest.mark.parametrize(
    ("value", "cell"),
    [("1", POSITIVE), ("0", NEGATIVE), ("-1", UNSURE), (1, POSITIVE), (None, NOT_TOLD), ("", NOT_TOLD), ("2", "❓ 2")],
)
def test_every_value_has_its_icon(value: Any, cell: str) -> None:
    assert row(ultra_wide_answer(left={"VKH": value}), "VKH")[1] == cell


def test_rows_are_found_by_id_in_the_templates_order_and_none_is_lost() -> None:
    body = ultra_wide_answer()
    body["data"]["ultraWideResult"]["inferredDiagnoses"] = [
        {"disease": "NewDisease", "name": "新病", "leftValue": "1", "rightValue": "0", "additional": "见 | 左上"},
        {"disease": "VKH", "name": "另一个名字", "leftValue": "1", "rightValue": "0"},
        {"name": "黄斑裂孔", "leftValue": "0", "rightValue": "1"},
    ]
    rows = [line for line in lines(body) if re.match(r"\| .+ \| (❓|✅|⚠️)", line)]

    assert len(rows) == 24
    assert rows[22] == f"| VKH | {POSITIVE} | {NEGATIVE} | |"
    assert rows[10] == f"| 黄斑裂孔 | {NEGATIVE} | {POSITIVE} | |"
    assert rows[23] == f"| 新病 | {POSITIVE} | {NEGATIVE} | 见 \\| 左上 |"
    assert rows[0] == f"| 视网膜动脉阻塞 | {NOT_TOLD} | {NOT_TOLD} | |"


@pytest.mark.parametrize("status", [200, -2, -3, -4, 404])
def test_every_final_state_is_shown(status: int) -> None:
    assert lines(ultra_wide_answer(status=status))[2] == f"**状态**:{STATES[status]}"


def test_a_failed_analysis_without_findings_invents_none() -> None:
    made = "\n".join(lines({"code": 0, "data": {"ultraWideResult": {"status": -2}}}))
    assert "阳性" not in made
    assert "阴性" not in made
    assert made.count(NOT_TOLD) == 46
    assert "没有返回 PDF 报告" in made


# --- strangers' words ---


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a | b", "a \\| b"),
        ("a\n\n## 标题", "a ## 标题"),
        ("# 标题", "\\# 标题"),
        ("[点我](https://evil.example)", "\\[点我\\](https&#58;//evil.example)"),
        ("![x](http://evil.example)", "!\\[x\\](http&#58;//evil.example)"),
        ("www.evil.example", "www&#46;evil.example"),
        ("<script>1</script>&", "&lt;script>1&lt;/script>&amp;"),
        ("**粗** `代码`", "\\*\\*粗\\*\\* \\`代码\\`"),
        ("\x1b[31m红\u202e反", "\\[31m红 反"),
        ("C/D 0.5-0.6 (左)", "C/D 0.5-0.6 (左)"),
    ],
)
def test_strange_words_stay_words(text: str, shown: str) -> None:
    assert plain(text) == shown
    body = ultra_wide_answer()
    body["data"]["ultraWideResult"]["eyeScreening"]["left"] = text
    [line] = [line for line in lines(body) if line.startswith("| 左眼 |")]
    assert line == f"| 左眼 | {shown} |"


def test_an_endless_word_is_cut() -> None:
    assert len(plain("长" * 1_000_000)) == 2001


LINK = "📄 [查看完整 AI 诊断报告 PDF]"


def test_a_link_is_one_and_cannot_end_early() -> None:
    assert f"{LINK}(https://reports.example/r/1.pdf?sign=a%28b%29)" in lines(ultra_wide_answer())


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "http://reports.example/1.pdf",
        "https://user:pw@reports.example/1.pdf",
        "https://reports.example/1.pdf\n[x](y)",
        "//reports.example/1",
        "https://",
        "https://[::1/x",
        "file:///etc/passwd",
        "https://reports.example/" + "a" * 5000,
    ],
)
def test_what_is_no_safe_link_is_no_link(url: str) -> None:
    made = "\n".join(lines(ultra_wide_answer(report_url=url)))
    assert LINK not in made
    assert "链接不安全，未显示" in made


def test_plain_http_is_a_link_to_the_configured_host_only() -> None:
    assert safe_link("http://localhost:8080/1.pdf", http_host="localhost") == "http://localhost:8080/1.pdf"
    assert safe_link("http://other.example/1.pdf", http_host="localhost") is None
    assert safe_link("http:///1.pdf", http_host=None) is None


# --- 45 degrees ---

DESCRIPTION = {"ratiosCD": 0.456, "ratiosIN": None, "microaneurysms": "是", "bleeding": "否", "wart": "不清"}
RESULT = {"noAbnormality": "否", "diabetic": "中度", "AMD": "无", "block": "不确定", "other": "有"}


def test_45_degrees_has_its_report_in_the_same_style() -> None:
    body = answer_45(
        [{"status": 200, "eyeCategory": 1, "aiResult": "疑似青光眼"}, {"status": 404, "eyeCategory": 0}],
        [{"status": 200, "eyeCategory": 1, "description": DESCRIPTION, "result": RESULT}],
    )
    text = report(answer(body, AiType.GLAUCOMA_AND_DISEASES), (("a_R.jpg", Eye.RIGHT),))
    made = [line for line in text.splitlines() if line]

    assert made[0] == "## 🔬 45° 眼底 AI 分析结果"
    headings = [line for line in made if line.startswith("### ")]
    assert headings == [
        "### 📋 基本信息",
        "### 🔍 青光眼分析",
        "### 📋 多病种分析",
        "### 🧬 病灶与视盘",
        "### 🩺 综合",
    ]
    assert "| 右眼 | 疑似青光眼 |" in made
    assert "| 糖尿病视网膜病变 | ⚠️ **中度** |" in made
    assert "| 未见异常 | ⚠️ **否** |" in made
    assert "| 年龄相关性黄斑变性 | ✅ 无 |" in made
    assert "| 血管阻塞 | ❓ 不确定 |" in made
    assert "| 高血压视网膜病变 | ❓ 未返回 |" in made
    assert "| 杯盘比 C/D | 0.46 |" in made
    assert "| 微血管瘤 | ⚠️ **是** |" in made
    assert "| 玻璃膜疣 | ❓ 不清 |" in made
    assert "- 右眼:糖尿病视网膜病变（中度）、其他异常（有）、微血管瘤（是）" in made
    assert "左眼" not in text, "no picture of it was sent"
    assert "请眼科医生" in made[-1]


def test_45_degrees_without_a_result_invents_none() -> None:
    body = answer_45([{"status": -4, "eyeCategory": 0}], None)
    text = report(answer(body, AiType.GLAUCOMA), ())
    assert "| 左眼 | 图像不可用，无法分析 |" in text
    assert "多病种" not in text
    assert "**图像**:检查号 uw_1" in text
    assert "- 有的图像没有分析结果，见上面的状态" in text
