import re
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech.spelled import counted, spelled
from tests.waiting import DEADLINE_S

AS_READ = {
    # codes
    "14764-2-4": "一四七六四杠二杠四",
    "20115-1-1/20115-1-2": "二零一一五杠一杠一斜杠二零一一五杠一杠二",
    "可吸收缝线2-0": "可吸收缝线二杠零",
    "4-0/5-0": "四杠零斜杠五杠零",
    "A12-3B": "A 一二杠三 B",
    "10086": "一零零八六",
    "007": "零零七",
    # names
    "3M胶带": "三 M 胶带",
    "MCuⅡ": "M C U 二",
    "MCu380": "M C U 三百八十",
    "II型": "二型",
    "B超": "B 超",
    "é": "E",
    # measures
    "12mm": "十二毫米",
    "12毫米": "十二毫米",
    "10ml": "十毫升",
    "10mL": "十毫升",
    "5mg/ml": "五毫克每毫升",
    "100μl": "一百微升",
    "37℃": "三十七摄氏度",
    "11#": "十一号",
    "7.5号": "七点五号",
    "2.05mm": "二点零五毫米",
    "0.9%氯化钠": "百分之零点九氯化钠",
    "10cm×10cm": "十厘米乘十厘米",
    "3×4×5cm": "三乘四乘五厘米",
    "22G×1.5": "二十二 G 乘一点五",
    "18G": "十八 G",
    "16Fr": "十六 F R",
    "Φ12mm": "直径十二毫米",
    "1,200": "一千二百",
    # ranges and parts
    "10-12mm": "十到十二毫米",
    "2-3把": "二到三把",
    "5~7号": "五到七号",
    "1/2弧": "二分之一弧",
    # 2
    "2把": "两把",
    "12把": "十二把",
    "2号": "二号",
    # width
    "１２ｍｍ": "十二毫米",
    # nothing that a program would take for a command
    "-x确认": "X 确认",
    "纱布[[ma]]": "纱布， M A ，",
    "<b>纱布</b>": "小于 B 大于纱布小于， B 大于",
    # questions stay as they are
    "第一个，医用纱布块。": "第一个，医用纱布块。",
    # nothing to say
    "": "",
    "。。？": "",
    " \n\0": "",
}


@pytest.mark.parametrize("text", AS_READ)
def test_it_is_spelled_as_people_read_it(text: str) -> None:
    assert spelled(text) == AS_READ[text]


COUNTED = {
    "0": "零", "2": "二", "10": "十", "11": "十一", "20": "二十", "21": "二十一", "100": "一百", "101": "一百零一",
    "110": "一百一十", "111": "一百一十一", "200": "二百", "1000": "一千", "1001": "一千零一", "1010": "一千零一十",
    "1100": "一千一百", "2005": "二千零五", "9999": "九千九百九十九", "10000": "一零零零零",
}  # fmt: skip


def test_numbers_are_counted_up_to_four_digits() -> None:
    assert {digits: counted(digits) for digits in COUNTED} == COUNTED


@given(st.text(alphabet=st.sampled_from("0129.,-/~×xX%#°mMgGlLcCkfrF纱布把号 [<(（&+\n\0é"), max_size=14))
def test_no_number_and_no_word_of_letters_is_left(text: str) -> None:
    said = spelled(text)

    assert not re.search(r"[0-9]|[A-Za-z]{2}|[\[\]<>&+\0\n#%/-]", said)
    assert bool(said) == any(char.isalnum() for char in said)


# As espeak-ng 1.51 writes sounds: ts.h is ch, ts. is zh, S; is x, X is h; 55, 35, 214 or 21, 51 are the tones.
SOUNDS = {
    "重复": "ts.hong35 fu51",
    "4号": "si[51 XAu51",
    "12把": "s.i.35 @r51 pA214",
    "10毫升": "s.i.35 XAu35 s.@55N",
    "长": "ts.hA35N",
    "弯头长镊子": "wA55n thou35 ts.hA35N niE51 tsi[11",
    "行": "S;i35N",
    "弹力绷带": "tha35n li51 p@55N tai51",
    "阑尾": "la35n wei214",
    "调节": "thjAu35 tS;iE35",
    "冠脉": "kwa55n mai51",
    "3M": "sa55n ai35m",
    "14764-2-4": "ji55 si[51 tS;hi55 liou51 si[51 ka51N @r51 ka51N si[51",
    "两把": "liA35N pA214",
}


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not there")
@pytest.mark.parametrize("text", SOUNDS)
def test_the_embedded_voice_makes_the_right_sounds_of_it(text: str) -> None:
    command = ["espeak-ng", "-q", "-x", "-v", "cmn-latn-pinyin", "--stdin"]
    written = subprocess.run(
        command, input=spelled(text).encode(), capture_output=True, check=True, timeout=DEADLINE_S
    ).stdout

    assert re.sub(r"[|_',]", "", written.decode()).split() == SOUNDS[text].split()
