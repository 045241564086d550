"""`orwatch fundus`: pictures of an eye's ground to the back end that judges them, and its report.

The report goes to stdout, everything else to stderr.
"""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, settings_of

fundus = typer.Typer(no_args_is_help=True, help="Ultra-wide and 45-degree pictures of the fundus: analysis and report.")


class EyeName(StrEnum):
    LEFT = "left"
    RIGHT = "right"
    UNKNOWN = "unknown"


class CameraName(StrEnum):
    AUTO = "auto"
    OPTOS = "optos"
    ZEISS = "zeiss"


class GenderName(StrEnum):
    UNKNOWN = "unknown"
    MALE = "male"
    FEMALE = "female"
    OTHER = "other"


class AiTypeName(StrEnum):
    ULTRA_WIDE = "12"
    BOTH = "0"
    GLAUCOMA = "1"
    DISEASES = "2"


AiTypeOption = Annotated[
    AiTypeName,
    typer.Option("--ai-type", help="12 ultra-wide; of 45 degrees: 0 glaucoma and diseases, 1 glaucoma, 2 diseases."),
]
EyeOption = Annotated[
    list[EyeName] | None,
    typer.Option("--eye", help="One per image in their order, or one for all.", show_default="from the file names"),
]
OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        help="A folder for report.md, answer.json and overlay_<n>.jpg.",
        file_okay=False,
        show_default=False,
    ),
]
PdfOption = Annotated[bool, typer.Option("--report-pdf/--no-report-pdf", help="Ask the back end for its PDF, too.")]


@fundus.command()
def analyze(
    images: Annotated[list[Path], typer.Argument(help="JPEG, PNG or DICOM.", show_default=False)],
    eye: EyeOption = None,
    ai_type: AiTypeOption = AiTypeName.ULTRA_WIDE,
    camera: Annotated[CameraName, typer.Option(help="Told with a single image above 5 MB.")] = CameraName.AUTO,
    patient_id: Annotated[str | None, typer.Option(show_default=False)] = None,
    patient_name: Annotated[str | None, typer.Option(show_default=False)] = None,
    gender: Annotated[GenderName | None, typer.Option(show_default=False)] = None,
    birthday: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], show_default=False)] = None,
    report_pdf: PdfOption = True,
    out: OutOption = None,
    config: ConfigOption = None,
) -> None:
    """Send images of one patient, wait for the analysis and print its report.

    Exits with 1 where the back end could not judge an image, and with 3 where it was not done at the last poll.
    """
    import asyncio

    from daemon.cli.fundus import shown as steps
    from daemon.cli.said import misuse_told
    from daemon.imaging.fundus.setup import fundus_rules_of
    from imaging.fundus.study import Study, new_study_id, plan
    from imaging.fundus.terms import AiType, Camera

    with misuse_told():
        rules = fundus_rules_of(settings_of(config))
        kind = AiType(int(ai_type))
        study = Study(
            study_id=new_study_id(kind, datetime.now(UTC)),
            ai_type=kind,
            images=steps.looked_at(images, eye or [], kind),
            camera=Camera[camera.name],
            patient_id=patient_id,
            patient_name=patient_name,
            gender=list(GenderName).index(gender) if gender else None,
            birthday=birthday.date() if birthday else None,
        )
        plan(study.images, kind)
        steps.check_free(out)
        found = asyncio.run(steps.analyzed(rules, study, need_report=report_pdf))
        code = steps.show(found, study.images, rules, out)
    raise typer.Exit(code)


@fundus.command()
def result(
    study_id: Annotated[str, typer.Argument(help="As `analyze` told it.", show_default=False)],
    images: Annotated[
        list[Path] | None, typer.Argument(help="What was sent, for the report and to draw on.", show_default=False)
    ] = None,
    eye: EyeOption = None,
    ai_type: AiTypeOption = AiTypeName.ULTRA_WIDE,
    wait: Annotated[bool, typer.Option("--wait", help="As long as `analyze` would, instead of asking once.")] = False,
    report_pdf: PdfOption = True,
    out: OutOption = None,
    config: ConfigOption = None,
) -> None:
    """Ask for the report of a study that was sent before. Exits as `analyze` does."""
    import asyncio

    from daemon.cli.fundus import shown as steps
    from daemon.cli.said import misuse_told
    from daemon.imaging.fundus.setup import fundus_rules_of
    from imaging.fundus.terms import AiType

    with misuse_told():
        rules = fundus_rules_of(settings_of(config))
        kind = AiType(int(ai_type))
        known = steps.looked_at(images or [], eye or [], kind)
        steps.check_free(out)
        found = asyncio.run(steps.asked(rules, study_id, kind, need_report=report_pdf, waits=wait))
        code = steps.show(found, known, rules, out)
    raise typer.Exit(code)
