// What the page says, in Chinese and in English. Messages of the server stay as they are: they are Chinese.

const WORDS = {
  title: ["超声图像分析", "Ultrasound analysis"],
  task: ["任务", "Task"],
  segmentation: ["分割", "Segmentation"],
  classification: ["分类", "Classification"],
  part: ["部位", "Part"],
  image: ["图像", "Image"],
  upload: ["上传图像", "Upload"],
  sample: ["随机图像", "Random"],
  dropHere: ["把 PNG 或 JPEG 图像拖到这里", "Drop a PNG or JPEG image here"],
  dropOr: ["或在左侧上传，或取一张随机图像", "or upload one, or take a random one, on the left"],
  analyse: ["分析", "Analyse"],
  analysing: ["正在分析…", "Analysing…"],
  loading: ["正在读取…", "Loading…"],
  uploading: ["正在上传…", "Uploading…"],
  turnLeft: ["左转 90°", "Turn left 90°"],
  turnRight: ["右转 90°", "Turn right 90°"],
  tilt: ["微调角度", "Tilt"],
  zoomIn: ["放大", "Zoom in"],
  zoomOut: ["缩小", "Zoom out"],
  reset: ["还原", "Reset"],
  stage: [
    "图像与选区。方向键移动选区，Shift 加方向键改变大小，加减号缩放，方括号转 90 度，逗号和句号微调，0 还原。",
    "Picture and selection. Arrows move the selection, Shift and arrows resize it, plus and minus zoom, brackets turn, comma and full stop tilt, 0 resets.",
  ],
  hint: [
    "选区内的部分会被分析。可拖动选区或图像，滚轮缩放。键盘：方向键移动选区，Shift+方向键改大小，+ − 缩放，[ ] 旋转，, . 微调，0 还原。",
    "What is inside the selection is analysed. Drag the selection or the image; the wheel zooms. Keys: arrows move, Shift+arrows resize, + − zoom, [ ] turn, , . tilt, 0 resets.",
  ],
  original: ["原图", "original"],
  changed: ["已调整", "adjusted"],
  selection: ["选区", "selection"],
  nothingSelected: ["选区内没有图像", "the selection holds nothing"],
  result: ["结果", "Result"],
  stale: ["图像、选区或部位已改变：以下结果属于改变之前。", "Image, selection or part have changed since this result."],
  noResult: ["选择任务、部位和图像后，点击“分析”。", "Choose task, part and image, then analyse."],
  opacity: ["掩膜不透明度", "Mask opacity"],
  outline: ["轮廓", "Outline"],
  area: ["掩膜占图像", "Mask covers"],
  emptyMask: ["没有分割出区域。", "Nothing was segmented."],
  probability: ["概率", "Probability"],
  unreliable: ["结果不可靠，仅供研究参考。", "Not reliable: for research only."],
  time: ["推理耗时", "Inference time"],
  memory: ["内存占用", "Memory"],
  gpuUsed: ["显存占用", "GPU memory used"],
  gpuReserved: ["分配显存", "GPU memory reserved"],
  seconds: ["秒", "s"],
  sent: ["发送的 JSON", "JSON sent"],
  got: ["返回的 JSON", "JSON received"],
  noModel: ["未配置模型", "no model"],
  key: ["API 密钥", "API key"],
  keyWhy: ["服务要求 API 密钥。它只保存在此标签页中，关闭后即清除。", "An API key is needed. It is kept in this tab only."],
  keyBad: ["密钥只能由 1 至 256 个可见的英文字符组成。", "A key is 1 to 256 visible ASCII characters."],
  keyWrong: ["密钥无效，请重新输入。", "This key is not known."],
  confirm: ["确定", "OK"],
  close: ["关闭", "Close"],
  language: ["English", "中文"],
  failedToShow: ["浏览器无法显示这张图像：不是完整的 PNG 或 JPEG。", "The browser cannot show this image: not a whole PNG or JPEG."],
  failedToCut: ["浏览器无法生成裁剪后的图像，请缩小选区后重试。", "The browser cannot make the cropped image: use a smaller selection."],
  away: ["无法连接服务器，请检查网络后重试。", "The server cannot be reached."],
  late: ["服务器没有在时限内答复，请稍后重试。", "The server did not answer in time."],
  odd: ["服务器的答复无法理解", "The server's answer cannot be understood"],
  disclaimer: ["辅助分析结果，不能代替医生的诊断。", "An aid, not a diagnosis."],
};

const PARTS = {
  "BUS-BRA": "Breast",
  CAMUS: "Heart",
  Fetal_HC: "Fetal head",
  KidneyUS: "Kidney",
  private_Thyroid: "Thyroid",
  private_Appendix: "Appendix",
  "Fatty-Liver": "Fatty liver",
  private_Breast_luminal: "Breast, subtype",
};

let isEnglish = false;

export function say(word) {
  return WORDS[word][isEnglish ? 1 : 0];
}

export function partName(part) {
  return isEnglish ? (PARTS[part.dataset_name] ?? part.organ) : part.shown_as;
}

/** The language of the page comes first, the other beside it. */
export function labelNames(label) {
  return isEnglish ? [label.name, label.name_zh] : [label.name_zh, label.name];
}

/** Fills every element that says data-word, data-word-title or data-word-label. */
export function speak(english) {
  isEnglish = english;
  document.documentElement.lang = english ? "en" : "zh-CN";
  document.title = say("title");
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word);
  for (const element of document.querySelectorAll("[data-word-title]")) {
    element.title = say(element.dataset.wordTitle);
  }
  for (const element of document.querySelectorAll("[data-word-label]")) {
    element.setAttribute("aria-label", say(element.dataset.wordLabel));
  }
}

export function speaksEnglish() {
  return isEnglish;
}
