"""The words of the fundus back end: kinds of analysis, eyes, codes, states, and the order of findings."""

from enum import IntEnum


class AiType(IntEnum):
    """What is asked for. Ultra-wide and 45 degrees are two services with two credentials."""

    GLAUCOMA_AND_DISEASES = 0
    GLAUCOMA = 1
    DISEASES = 2
    ULTRA_WIDE = 12

    @property
    def is_ultra_wide(self) -> bool:
        return self is AiType.ULTRA_WIDE

    @property
    def label(self) -> str:
        return _AI_TYPES[self]


_AI_TYPES = {
    AiType.GLAUCOMA_AND_DISEASES: "45° 青光眼与多病种",
    AiType.GLAUCOMA: "45° 青光眼",
    AiType.DISEASES: "45° 多病种",
    AiType.ULTRA_WIDE: "超广角多病种",
}


class Eye(IntEnum):
    """As it is sent (descPosition). An answer counts otherwise: see `eye_of_category`."""

    UNKNOWN = 0
    LEFT = 1
    RIGHT = 2

    @property
    def label(self) -> str:
        return ("未知", "左眼", "右眼")[self]


def eye_of_category(category: int | None) -> Eye:
    """The eye of an answer's eyeCategory: 0 left, 1 right."""
    return {0: Eye.LEFT, 1: Eye.RIGHT}.get(-1 if category is None else category, Eye.UNKNOWN)


class Camera(IntEnum):
    """cameraType of a file upload. The seed always sends 2, which declares a Zeiss."""

    AUTO = 0
    OPTOS = 1
    ZEISS = 2


OK, BAD_PARAMETER, DATABASE, NO_DATA, PROCESSING = "0", "1", "2", "10003", "30008"
INVALID_TOKEN, INVALID_SIGNATURE, LIMIT_EXCEEDED = "90001", "90002", "90003"
CODES = {
    BAD_PARAMETER: "参数错误",
    DATABASE: "服务端数据库错误",
    NO_DATA: "没有这个检查号的数据",
    PROCESSING: "这个检查号正在处理中",
    INVALID_TOKEN: "APP-TOKEN 无效",
    INVALID_SIGNATURE: "签名无效（也可能是本机时钟不准）",
    LIMIT_EXCEEDED: "超过获取次数上限",
}

DONE, ABSENT = 200, 404
PENDING = (0, -1)
STATES = {
    DONE: "处理成功",
    0: "处理中",
    -1: "等待处理",
    -2: "处理失败",
    -3: "屈光介质混浊，无法分析",
    -4: "图像不可用，无法分析",
    ABSENT: "没有该眼的图像",
}


def state_text(status: int | None) -> str:
    return "未返回状态" if status is None else STATES.get(status, f"未知状态（{status}）")


# English id -> the name in the report, in the order of its rows.
DISEASES = {
    "RetinalArteryOcclusion": "视网膜动脉阻塞",
    "RetinalDetachment": "视网膜脱离",
    "RetinalHole": "视网膜裂孔",
    "RetinalChoroidalMass": "视网膜脉络膜肿物",
    "RetinalPeripheralDegeneration": "视网膜周边变性",
    "CongenitalOpticDiscAnomaly": "先天性视盘异常",
    "LargeCupDiscRatio": "大视杯(C/D>0.3)",
    "OpticAtrophy": "视神经萎缩",
    "MacularEpiretinalMembrane": "黄斑前膜",
    "MacularSerousDetachment": "黄斑浆液性脱离",
    "MacularHole": "黄斑裂孔",
    "AsteroidHyalosis": "星状玻璃体变性",
    "PosteriorVitreous": "玻璃体后脱离",
    "OtherVitreousAnomaly": "其他玻璃体异常/出血/混浊",
    "DiabeticRetinopathyPDR": "糖尿病视网膜病变(PDR)",
    "DiabeticRetinopathyNPDR": "糖尿病视网膜病变(NPDR)",
    "RetinitisPigmentosa": "视网膜色素变性",
    "PathologicalMyopia": "病理性近视",
    "CentralRetinalVeinOcclusion": "视网膜中央静脉阻塞",
    "BranchRetinalVeinOcclusion": "视网膜分支静脉阻塞",
    "WetAgeRelatedMacularDegeneration": "湿性年龄相关性黄斑变性",
    "DryAgeRelatedMacularDegeneration": "干性年龄相关性黄斑变性",
    "VKH": "VKH",
}

# The index in others[] -> English id and name.
SIGNS = (
    ("refractiveMediaOpacity", "屈光介质混浊"),
    ("vitreousBlood", "玻璃体出血"),
    ("asteroidHyalosis", "玻璃体星状小体"),
    ("posteriorVitreous", "玻璃体后脱离"),
    ("otherVitreousAnomaly", "其他玻璃体异常"),
    ("drusen", "玻璃膜疣"),
    ("macularSubretinalFibrosis", "黄斑视网膜下纤维膜（盘变）"),
    ("macularMyopicAtrophy", "黄斑近视性萎缩斑"),
    ("macularGeographicAtrophy", "黄斑地图样萎缩"),
    ("macularEpiretinalMembrane", "黄斑前膜"),
    ("macularHemorrhage", "黄斑出血"),
    ("macularSubretinalHemorrhage", "黄斑视网膜下出血"),
    ("macularSerousDetachment", "黄斑区浆液性视网膜脱离"),
    ("macularHole", "黄斑裂孔"),
    ("otherMacularDisease", "其他黄斑病变"),
    ("opticDiscCollateral", "视盘侧枝循环"),
    ("opticDiscBorderUnclear", "视盘边界不清"),
    ("congenitalOpticDiscAnomaly", "先天性视盘发育异常"),
    ("largeCupDiscRatio", "视盘大视杯"),
    ("opticAtrophy", "视神经萎缩"),
    ("opticDiscNeovascularization", "视盘新生血管"),
    ("highMyopiaOpticDiscAtrophyArc", "高度近视视盘萎缩弧"),
    ("highMyopiaOpticDiscAtrophyRing", "高度近视视盘萎缩环"),
    ("retinalDetachment", "视网膜脱离"),
    ("retinalHaemorrhageQuadrant", "视网膜出血象限性"),
    ("retinalSubretinalHemorrhage", "视网膜下出血"),
    ("retinalPreretinalHemorrhage", "视网膜前出血"),
    ("retinalTear", "视网膜裂孔"),
    ("retinalFibrousMembrane", "视网膜纤维膜"),
    ("retinalChoroidalMass", "视网膜脉络膜占位"),
    ("retinalLaserCoagulation", "视网膜光凝斑"),
    ("panretinalPhotocoagulation", "全视网膜光凝"),
    ("singleQuadrantLaserCoagulation", "单象限性视网膜光凝斑"),
    ("retinalBoneCellPigment", "骨细胞样色素改变"),
    ("tessellatedFundus", "豹纹状眼底"),
    ("sunsetGlowFundus", "晚霞状眼底"),
    ("hemorrhagicSpot", "出血点、出血斑"),
    ("hardExudate", "硬性渗出"),
    ("cottonWoolSpot", "棉绒斑"),
    ("retinalNeovascularization", "视网膜新生血管"),
    ("retinalOldPigmentLesion", "陈旧色素病灶"),
    ("retinalPeripheralDegeneration", "周边变性区"),
    ("otherRetinalDisease", "其他视网膜病变"),
    ("retinalArteryOcclusion", "视网膜动脉阻塞"),
    ("retinalVascularWhiteLine", "血管白线"),
    ("retinalArterySclerosis", "视网膜动脉硬化"),
    ("retinalVasculitis", "血管鞘-视网膜血管炎"),
)

# Fields of leftDetail and rightDetail that hold coordinates, in the order and with the names of the report.
MARKS = {
    "hemohedgeMask": "出血/渗出掩膜",
    "cottonWoolSpotMask": "棉絮斑掩膜",
    "hardExudateMask": "硬性渗出掩膜",
    "neovascularizationMask": "新生血管掩膜",
    "highMyopiaOpticDisc": "高度近视视盘",
    "macularEpiretinalMembrane": "黄斑前膜",
    "retinalFibrousMembrane": "视网膜纤维膜",
    "retinalHole": "视网膜裂孔",
    "retinalDetachment": "视网膜脱离",
    "retinalOldPigmentLesion": "陈旧色素病灶",
}
