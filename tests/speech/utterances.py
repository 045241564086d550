"""Answers as people give them and recognizers write them, and what they must and must not be taken for."""

from dataclasses import dataclass

from speech.answers import Meaning
from speech.mentions import AnswerOption

SEWN = AnswerOption(label="suture", names=("可吸收缝线", "可吸收线", "14764-2-4", "薇乔"))
UNSEWN = AnswerOption(label="unabsorbed", names=("不可吸收缝线", "不可吸收线", "14764-3-1"))
GAUZE = AnswerOption(label="gauze", names=("医用纱布块", "纱布", "纱布块", "10382-1-2"))
HEMOSTAT = AnswerOption(label="hemostat", names=("止血钳",))
HOLDER = AnswerOption(label="holder", names=("持针钳",))
FOUR = AnswerOption(label="four", names=("4号丝线",))
SEVEN = AnswerOption(label="seven", names=("7号丝线",))
TROCAR_12 = AnswerOption(label="trocar12", names=("12mm穿刺器",))
TROCAR_5 = AnswerOption(label="trocar5", names=("5mm穿刺器",))
CATHETER = AnswerOption(label="catheter", names=("一次性使用乳胶导尿管", "导尿管"))
PLATE = AnswerOption(label="plate", names=("一次性中性电极板", "电极板"))
IUD = AnswerOption(label="iud", names=("MCuⅡ功能性宫内节育器", "节育器", "740-2-14"))
SILK_ABSORBED = AnswerOption(label="silk", names=("可吸收丝线",))
VENTILATOR = AnswerOption(label="ventilator", names=("呼吸机",))
SILVER = AnswerOption(label="silver", names=("银线",))
COIL = AnswerOption(label="coil", names=("硬线圈",))

ONE = (GAUZE,)
TWO = (GAUZE, SEWN)
THREE = (GAUZE, SEWN, HEMOSTAT)
THREADS = (SEWN, UNSEWN)
CLAMPS = (HEMOSTAT, HOLDER)
SILK = (FOUR, SEVEN)
TROCARS = (TROCAR_12, TROCAR_5)
LONG = (CATHETER, PLATE, IUD)
WIRES = (SILVER, COIL)


@dataclass(frozen=True, slots=True)
class Utterance:
    """expected: a label, or a meaning."""

    group: str
    text: str
    options: tuple[AnswerOption, ...]
    expected: str | Meaning


def _of(group: str, options: tuple[AnswerOption, ...], expected: str | Meaning, *texts: str) -> list[Utterance]:
    return [Utterance(group, text, options, expected) for text in texts]


R, U, N, C = Meaning.REJECTED, Meaning.UNCLEAR, Meaning.UNSURE, Meaning.CANCELLED

UTTERANCES = [
    *_of("name", TWO, "gauze", "纱布", "纱布。", "是纱布", "医用纱布块", "纱布块", "用的是纱布", "是的，纱布", "嗯，纱布吧", "我用的是纱布啊"),
    *_of("name", TWO, "suture", "可吸收缝线", "可吸收线", "薇乔", "刚才用的是可吸收缝线", "那个可吸收缝线", "就是可吸收缝线", "选可吸收缝线"),
    *_of("name", LONG, "catheter", "导尿管", "一次性使用乳胶导尿管", "乳胶导尿管", "是导尿管。", "护士拿的是导尿管"),
    *_of("name", LONG, "plate", "电极板", "一次性中性电极板", "中性电极板"),
    *_of("name", LONG, "iud", "节育器", "MCuⅡ功能性宫内节育器", "mcu二功能性宫内节育器"),
    *_of("code", TWO, "suture", "14764-2-4", "14764杠2杠4", "一四七六四杠二杠四", "幺四七六四杠二杠四", "1476424"),
    *_of("code", TWO, U, "14764-2", "14764-2-5", "114764-2-4", "14764-2-41", "四"),
    *_of("homophone", TWO, "gauze", "砂布", "沙布", "纱部", "杀不块", "沙布块"),
    *_of("homophone", CLAMPS, "hemostat", "止血前", "只血钳", "指血钳", "止雪钳"),
    *_of("homophone", CLAMPS, "holder", "持真钳", "池针钳", "迟针钳"),
    *_of("homophone", SILK, "four", "四号丝线", "四号司线", "4号丝线", "四号思线"),
    *_of("homophone", THREADS, "suture", "可吸收风线", "可西收缝线"),
    *_of("ordinal", THREE, "gauze", "第一个", "第一", "一号", "第1个", "选第一个", "是第一个", "第一种", "头一个", "就第一个吧", "我选一号"),
    *_of("ordinal", THREE, "suture", "第二个", "二号", "是第二个", "第二个。谢谢"),
    *_of("ordinal", THREE, "hemostat", "第三个", "三号", "最后一个", "最后那个", "第三项"),
    *_of("ordinal", TWO, "gauze", "前者", "前面那个"),
    *_of("ordinal", TWO, "suture", "后者", "后面那个", "最后一个"),
    *_of("ordinal", THREE, U, "第四个", "第十一个", "四号", "第零个", "三个", "一", "前者", "后者", "第二十一个"),
    *_of("ordinal", SILK, "seven", "第二个", "二号", "七号丝线"),
    *_of("ordinal", ONE, "gauze", "第一个"),
    *_of("ordinal", ONE, U, "第二个", "最后一个"),
    *_of("yes", ONE, "gauze", "是", "是的", "对", "对的", "没错", "确认", "好的", "是它", "就是它", "嗯，是的", "对对对", "OK", "可以"),
    *_of("yes", TWO, U, "是", "是的", "对", "没错", "确认", "好的"),
    *_of("no", ONE, R, "不是", "不对", "不是的", "没有", "错了", "没用", "否", "不"),
    *_of("no", TWO, U, "不是", "不对", "没有", "错了", "不"),
    *_of("none", TWO, R, "都不是", "都不对", "一个都不是", "一个也不是", "两个都不是", "以上都不是", "全都不是", "哪个都不是", "都错了", "都没有"),
    *_of("none", THREE, R, "都不是。", "三个都不是", "没有一个是", "嗯，都不是"),
    *_of("none", TWO, R, "第一个第二个都不是", "纱布和可吸收缝线都不是", "一号二号都不是"),
    *_of("none", THREE, U, "第一个第二个都不是", "纱布都不是"),
    *_of("none", TWO, U, "不是都不是", "都不是，是纱布", "都不是纱布", "都是", "两个都是", "都要", "全都是", "两个都用了"),
    *_of("unsure", TWO, N, "不确定", "不知道", "不清楚", "我不知道", "没看清", "忘了", "不太确定", "好像是纱布", "可能是纱布", "应该是纱布", "也许第一个", "说不好"),
    *_of("again", TWO, N, "再说一遍", "没听清", "重复一遍", "什么", "你说什么", "等一下", "请再说一次", "等等"),
    *_of("question", TWO, N, "是不是纱布", "是纱布吗", "纱布还是缝线", "纱布对不对", "哪个", "第几个", "是纱布么", "有没有纱布"),
    *_of("question", ONE, N, "是不是", "对不对", "是吗"),
    *_of("question", ONE, N, "病人是谁", "不是不是纱布"),
    *_of("cancel", TWO, C, "取消", "取消吧", "我要取消", "撤销"),
    *_of("cancel", TWO, U, "取消第一个", "取消纱布"),
    *_of("negation", TWO, "suture", "不是纱布，是可吸收缝线", "不是纱布是可吸收缝线", "不是第一个，是第二个", "不对，是可吸收缝线", "没用纱布，用了可吸收缝线", "纱布不对，可吸收缝线"),
    *_of("negation", TWO, U, "不是纱布", "不是第一个", "纱布不是", "不纱布", "没用纱布", "第一个不是", "除了纱布", "除纱布以外"),
    *_of("negation", ONE, R, "不是纱布", "没用纱布", "没有用纱布", "纱布不是"),
    *_of("negation", ONE, U, "不纱布", "没纱布", "不是，是纱布不是"),
    *_of("negation", TWO, U, "第一个不是，第二个", "第一个，不是第二个", "不是纱布，可吸收缝线", "不是第一个第二个"),
    *_of("negation", TWO, "gauze", "纱布是，可吸收缝线不是"),
    *_of("correction", TWO, "suture", "纱布，不对，可吸收缝线", "纱布，错了，是可吸收缝线", "纱布，说错了，是可吸收缝线", "第一个，不对，第二个", "纱布，我是说可吸收缝线", "一号，不对，二号"),
    *_of("several", TWO, U, "纱布，可吸收缝线", "纱布和可吸收缝线", "第一个和第二个", "纱布第二个", "一号二号", "第一个第二个"),
    *_of("same twice", TWO, "gauze", "纱布，第一个", "第一个，纱布", "纱布纱布", "是纱布，是第一个"),
    *_of("look-alike", THREADS, "unabsorbed", "不可吸收缝线", "是不可吸收缝线", "不可吸收线", "用的是不可吸收缝线"),
    *_of("look-alike", THREADS, "suture", "可吸收缝线", "不是不可吸收缝线，是可吸收缝线"),
    *_of("look-alike", THREADS, U, "缝线", "吸收缝线", "可吸收", "吸收", "不是可吸收缝线", "线"),
    *_of("look-alike", (SEWN,), U, "不可吸收缝线", "非可吸收缝线", "丝线", "缝线剪", "可吸收缝线剪刀"),
    *_of("look-alike", (UNSEWN,), U, "可吸收缝线", "吸收缝线"),
    *_of("look-alike", SILK, U, "丝线", "号丝线", "14号丝线", "47号丝线", "10号丝线", "五号丝线"),
    *_of("look-alike", (FOUR,), U, "7号丝线", "14号丝线", "十号丝线", "七号丝线"),
    *_of("look-alike", CLAMPS, U, "钳子", "钳", "组织钳", "持血钳", "止针钳"),
    *_of("look-alike", TROCARS, "trocar12", "12mm穿刺器", "十二毫米穿刺器", "12毫米穿刺器", "一二毫米穿刺器"),
    *_of("look-alike", TROCARS, "trocar5", "5mm穿刺器", "五毫米穿刺器"),
    *_of("look-alike", TROCARS, U, "穿刺器", "十五毫米穿刺器", "2毫米穿刺器", "毫米穿刺器", "15mm穿刺器"),
    *_of("look-alike", ONE, U, "纱布剪刀", "止血纱布", "凡士林纱布", "缝线", "纱布垫", "大纱布垫子", "棉球"),
    *_of("part", CLAMPS, "hemostat", "止血"),
    *_of("part", LONG, U, "宫内节育器", "一次性", "使用", "一次性使用", "功能性"),
    *_of("chatter", TWO, U, "", "。", "嗯", "啊，那个", "今天天气不错", "帮我拿一下手术刀", "血压一百二十", "纱布用完了", "给我一块纱布垫", "还没有", "不错", "一百二十八", "谢谢"),
    *_of("chatter", ONE, U, "今天天气不错", "我是护士", "对面", "是非", "好久", "不好意思"),
    *_of("nasty", TWO, U, "不是，纱布", "缝线不是纱布", "没有纱布", "纱布没用上", "一共两个纱布", "两块纱布", "把纱布拿走", "纱布掉地上了", "还没用纱布", "换纱布", "对不起", "二"),
    *_of("nasty", TWO, U, "二号纱布", "第二个纱布", "十号", "gauze", "4764-2-4", "要两个", "都不是纱布是薇乔", "都没用纱布", "全是纱布", "都用了", "确认不是纱布", "不用纱布"),
    *_of("nasty", TWO, "suture", "第一不对第二", "纱布换成薇乔", "第一个换成第二个"),
    *_of("nasty", TWO, "gauze", "第二个不对第一个", "错了是纱布", "没错纱布", "纱 布"),
    *_of("nasty", ONE, U, "不是是", "不对是的", "没有错", "没有不对", "不是错", "不错", "对错", "不是没有", "用了没有", "有用", "不可以", "都对", "错了是纱布", "不对，纱布", "不，纱布"),
    *_of("nasty", THREADS, "suture", "不，可吸收缝线", "不。可吸收缝线", "第一个可吸收缝线"),
    *_of("nasty", THREADS, "unabsorbed", "不可吸收的", "不是可吸收缝线是不可吸收缝线"),
    *_of("nasty", (SEWN,), U, "不可吸收线", "是不可吸收缝线", "不是不可吸收缝线", "不，可吸收缝线"),
    *_of("not asked for", TWO, U, "给我纱布", "请给我纱布", "拿纱布", "我要纱布", "医生要纱布", "护士，纱布", "医生，纱布", "要是纱布就好", "是第一个就好了", "如果是纱布"),
    *_of("not asked for", TWO, "gauze", "护士用了纱布", "医生用的是纱布", "他说是纱布", "给的是纱布", "拿了一块纱布", "纱布一块", "是个纱布"),
    *_of("asked back", TWO, N, "纱布？", "第一个?", "纱布呢", "纱布呢？", "都不是？", "纱布，对吧", "第一个是吧", "是啥布", "都是吗", "两个都对吗"),
    *_of("asked back", ONE, N, "对吧", "是吧", "不是吧", "是的吧？", "没错吧"),
    *_of("other product", TWO, U, "纱布条", "纱布卷", "纱布片", "纱布包", "纱布绷带", "1号纱布", "一号可吸收缝线", "二号可吸收缝线", "可吸收缝线二号", "二号线", "和纱布", "纱布和"),
    *_of("other product", CLAMPS, U, "止血剪", "止血钳包", "持针器"),
    *_of("other product", LONG, U, "一次性使用硅胶导尿管", "导流管", "导尿包", "引流管", "一次性双极电极板"),
    *_of("other product", (CATHETER,), U, "一次性使用硅胶导尿管", "导流管", "导尿包", "乳胶"),
    *_of("other person", TWO, U, "一号护士", "二号医生", "二号手术间", "第二块", "第二天", "第二台", "第二次", "第二个后面那个", "第二个前面那个"),
    *_of("either", TWO, U, "不是第一个就是第二个", "不是纱布就是可吸收缝线"),
    *_of("part of all", THREE, U, "两个都不是", "两个都没有", "后两个都不是", "两个都不对"),
    *_of("part of all", ONE, U, "两个都不是"),
    *_of("yes", ONE, U, "好了", "可以了", "有了", "不是，是纱布", "不是的，是纱布"),
    *_of("no", ONE, U, "没了", "没有了", "没用了"),
    *_of("no such word", CLAMPS, U, "止学校", "血前"),
    *_of("no such word", TWO, U, "傻不", "纱不", "14764-2-41块"),
    *_of("one syllable off", TWO, "suture", "可吸收哼线", "是可吸收哼线"),
    *_of("one syllable off", (SEWN, SILK_ABSORBED), U, "可吸收哼线"),
    *_of("one syllable off", (VENTILATOR,), U, "夫吸机", "呼吸器"),
    *_of("one syllable off", WIRES, "coil", "硬线圈", "硬线"),
    *_of("one syllable off", WIRES, "silver", "银线"),
]  # fmt: skip

# Names as a store of an operating room has them, many but one syllable apart.
PRODUCTS = (
    "纱布 纱布块 纱布垫 纱布条 纱布卷 纱布片 纱布球 纱布绷带 显影纱布 凡士林纱布 碘仿纱条 棉球 棉垫 棉片 "
    "脑棉片 绷带 弹力绷带 可吸收缝线 不可吸收缝线 丝线 1号丝线 4号丝线 7号丝线 10号丝线 0号丝线 "
    "3-0丝线 4-0丝线 带针缝线 聚丙烯缝线 尼龙线 钢丝 止血钳 持针钳 组织钳 卵圆钳 巾钳 血管钳 直角钳 "
    "分离钳 抓钳 活检钳 取石钳 咬骨钳 止血夹 钛夹 结扎夹 血管夹 动脉夹 动脉瘤夹 止血带 止血粉 止血纱布 "
    "止血海绵 止血绫 明胶海绵 骨蜡 导尿管 导尿包 导流管 引流管 引流袋 引流瓶 导引管 导丝 导管 胃管 "
    "吸引管 吸引器 吸引头 吸痰管 吸氧管 气管插管 气管导管 硬膜外导管 中心静脉导管 输液管 输液器 输血器 "
    "注射器 注射针 穿刺器 穿刺针 5mm穿刺器 10mm穿刺器 12mm穿刺器 电极板 电刀 电刀笔 电凝钩 "
    "电凝钳 双极电凝 超声刀 超声刀头 手术刀 手术刀片 手术衣 手术巾 手术单 手术膜 手术剪 组织剪 线剪 手套 "
    "无菌手套 外科手套 敷贴 敷料 创可贴 切口膜 切口保护套 标本袋 取物袋 套管 套管针 套扎器 吻合器 "
    "直线吻合器 圆形吻合器 管型吻合器 切割吻合器 直线切割吻合器 闭合器 缝合器 皮肤缝合器 缝合针 缝针 圆针 "
    "角针 三角针 钉仓 白色钉仓 蓝色钉仓 骨钉 骨板 钢板 钢钉 螺钉 克氏针 节育器 一次性使用乳胶导尿管 "
    "一次性使用硅胶导尿管 一次性中性电极板 一次性双极电极板 双腔导尿管 三腔导尿管 双腔气管插管 单腔气管插管 "
    "补片 人工血管 支架 输尿管支架 胆道支架 球囊 球囊导管 扩张球囊 10毫升注射器 5毫升注射器 "
    "20毫升注射器 50ml注射器 "
).split()
