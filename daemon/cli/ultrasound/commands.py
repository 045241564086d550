"""`orwatch ultrasound`: classes and masks of ultrasound pictures by local ONNX models, and how good they are.

Answers go to stdout, everything else to stderr.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, settings_of

ultrasound = typer.Typer(no_args_is_help=True, help="Ultrasound: classification and segmentation by local ONNX models.")


class TaskName(StrEnum):
    SEGMENTATION = "segmentation"
    CLASSIFICATION = "classification"


class DeviceName(StrEnum):
    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class MaskNames(StrEnum):
    CHALLENGE = "challenge"
    FOLDER = "folder"


def _model(name: str, what: str) -> object:
    return typer.Option(name, help=f"An ONNX {what}, instead of the configured one.", show_default=False)


ModelOption = Annotated[Path | None, _model("--model", "that takes prompts and does everything")]
SegmentationOption = Annotated[Path | None, _model("--segmentation-model", "for masks")]
ClassificationOption = Annotated[Path | None, _model("--classification-model", "of two classes")]
Classification4Option = Annotated[
    Path | None, _model("--classification-model-4", "of four classes, for private_Breast_luminal")
]
DeviceOption = Annotated[DeviceName | None, typer.Option("--device", show_default="as configured")]


@ultrasound.command()
def predict(
    images: Annotated[list[Path], typer.Argument(help="PNG or JPEG.", show_default=False)],
    task: Annotated[TaskName, typer.Option("--task", show_default=False)],
    dataset: Annotated[str, typer.Option("--dataset", help="Such as CAMUS or BUS-BRA.", show_default=False)],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A folder for masks and JSON.", file_okay=False, show_default="as configured"),
    ] = None,
    model: ModelOption = None,
    segmentation_model: SegmentationOption = None,
    classification_model: ClassificationOption = None,
    classification_model_4: Classification4Option = None,
    device: DeviceOption = None,
    config: ConfigOption = None,
) -> None:
    """Classify or segment pictures and print the answer, for several a list, as POST /segment2/ would."""
    from daemon.cli.said import misuse_told
    from daemon.cli.ultrasound import shown as steps

    with misuse_told():
        settings = steps.with_models(
            settings_of(config),
            model=model,
            segmentation=segmentation_model,
            classification=classification_model,
            classification_4=classification_model_4,
            device=device,
        )
        steps.predict(settings, images, task=task, dataset=dataset, out=out)


@ultrasound.command()
def batch(
    input_dir: Annotated[Path, typer.Option("--input", help="The folder of the images.", file_okay=False)] = Path(
        "/input"
    ),
    input_json: Annotated[
        Path, typer.Option("--input-json", help="A list of records, or a folder with one such .json.")
    ] = Path("/input_json"),
    output: Annotated[
        Path, typer.Option("--output", help="For classification.json and the masks.", file_okay=False)
    ] = Path("/output"),
    mask_names: Annotated[
        MaskNames,
        typer.Option(
            "--mask-names",
            help="challenge: every `img` of the path becomes `mask`, as its scorer expects. "
            "folder: only the folder `imgs` becomes `masks`, and the file a .png.",
        ),
    ] = MaskNames.CHALLENGE,
    model: ModelOption = None,
    segmentation_model: SegmentationOption = None,
    classification_model: ClassificationOption = None,
    classification_model_4: Classification4Option = None,
    device: DeviceOption = None,
    config: ConfigOption = None,
) -> None:
    """Do a whole list of records in the folder layout of the public challenge.

    A picture that cannot be used is told and passed by; then the exit code is 1. classification.json is written once
    all is done, every mask whole or not at all.
    """
    from daemon.cli.said import misuse_told
    from daemon.cli.ultrasound import batch as steps
    from daemon.cli.ultrasound.shown import with_models

    with misuse_told():
        settings = with_models(
            settings_of(config),
            model=model,
            segmentation=segmentation_model,
            classification=classification_model,
            classification_4=classification_model_4,
            device=device,
        )
        failed = steps.run(settings, input_dir, input_json, output, mask_names)
    if failed:
        raise typer.Exit(1)


@ultrasound.command()
def score(
    truth: Annotated[
        Path | None, typer.Option(help="The folder of the true masks.", file_okay=False, show_default=False)
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="The folder of the masks to judge.", file_okay=False, show_default=False)
    ] = None,
    truth_json: Annotated[
        Path | None, typer.Option(help="Records with class_label_index.", dir_okay=False, show_default=False)
    ] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="A classification.json.", dir_okay=False, show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """DSC and NSD (1 pixel) of masks, accuracy and AUC of classes, per data set and over all.

    Two masks that are both empty agree: DSC and NSD 1.
    """
    from daemon.cli.said import misuse_told
    from daemon.cli.ultrasound import score as steps

    with misuse_told():
        steps.score(truth=truth, masks=masks, truth_json=truth_json, predictions=predictions, as_json=as_json)
