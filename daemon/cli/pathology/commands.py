"""`orwatch pathology`: a slide to the pathology back end, in one go or step by step.

Standard output has one STEP_STATUS line for each step and nothing else; all that is for people goes to standard error.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from daemon.cli.options import ConfigOption, settings_of
from daemon.cli.pathology.step_status import Step, Teller

if TYPE_CHECKING:
    from daemon.cli.pathology.steps import Steps
    from daemon.config import Settings

T = TypeVar("T")

pathology = typer.Typer(
    no_args_is_help=True,
    help="Send a slide for AI diagnosis, in one go (run) or step by step. "
    "Exit codes: 0 done or skipped, 1 failed, 2 wrong command line, 3 not ready yet, 130 stopped by Ctrl-C.",
)

DATA = Path("scripts") / "data"
TOKEN, CREDENTIALS = DATA / "token_store.json", DATA / "cos_credentials.json"
UPLOAD, RECORD = DATA / "cos_upload_result.json", DATA / "wsi_record_result.json"
WAIT_S = 10.0

_TokenFile = Annotated[Path, typer.Option("--token-file", help="The token of `login`.", dir_okay=False)]
_UploadFile = Annotated[Path, typer.Option("--upload-result-file", help="What `upload` wrote.", dir_okay=False)]
_OutputFile = Annotated[Path, typer.Option("--output-file", help="The JSON to write.", dir_okay=False)]
_Disease = Annotated[
    str | None, typer.Option("--disease", help="6: 通用组织切片, 14: 消化道活检AI.", show_default="none, required")
]
_Organization = Annotated[
    str | None, typer.Option("--organization", help="机构名称.", show_default="imaging.pathology.organization")
]
_Date = Annotated[str | None, typer.Option("--date", help="YYYYMMDD, of the path in COS.", show_default="today")]
_Source = Annotated[int | None, typer.Option("--source", help="来源机构 ID.", min=0, show_default="3696")]
_IsRun = Annotated[bool, typer.Option("--is-run/--no-is-run", help="Start the analysis at once.")]
_WaitSeconds = Annotated[
    float, typer.Option("--wait-seconds", help="How long to wait before asking, once.", min=0, max=3600)
]
_NoWait = Annotated[bool, typer.Option("--no-wait", help="Ask without waiting.")]


def _url(flag: str) -> typer.models.OptionInfo:
    option = typer.Option(flag, help="Instead of the configured one.", show_default="[imaging.pathology]")
    assert isinstance(option, typer.models.OptionInfo)
    return option


@pathology.command()
def login(
    login_url: Annotated[str | None, _url("--login-url")] = None,
    token_file: _TokenFile = TOKEN,
    config: ConfigOption = None,
) -> None:
    """Step 1: log in with PATHOLOGY_USERNAME and PATHOLOGY_PASSWORD; skipped while the stored token is valid."""

    async def work(steps: "Steps", teller: Teller) -> None:
        teller.say(await steps.login())

    _perform(Step.LOGIN, work, config, urls={"login_url": login_url}, files={"token": token_file})


@pathology.command()
def credentials(
    credentials_url: Annotated[str | None, _url("--credentials-url")] = None,
    token_file: _TokenFile = TOKEN,
    output_file: _OutputFile = CREDENTIALS,
    config: ConfigOption = None,
) -> None:
    """Step 2: get temporary keys for the upload; skipped while the stored ones are valid."""

    async def work(steps: "Steps", teller: Teller) -> None:
        teller.say(await steps.credentials())

    files = {"token": token_file, "credentials": output_file}
    _perform(Step.CREDENTIALS, work, config, urls={"credentials_url": credentials_url}, files=files)


@pathology.command()
def upload(
    local_file: Annotated[
        Path | None, typer.Option("--local-file", help="The slide.", show_default="none, required")
    ] = None,
    organization: _Organization = None,
    date: _Date = None,
    credentials_file: Annotated[
        Path, typer.Option("--credentials-file", help="What `credentials` wrote.", dir_okay=False)
    ] = CREDENTIALS,
    token_file: _TokenFile = TOKEN,
    output_file: _OutputFile = UPLOAD,
    config: ConfigOption = None,
) -> None:
    """Step 3: upload the slide to COS. Run it again after an interruption: it goes on where it was."""

    async def work(steps: "Steps", teller: Teller) -> None:
        teller.say(await steps.upload(_given(local_file, "local_file"), organization, date))

    files = {"token": token_file, "credentials": credentials_file, "upload": output_file}
    _perform(Step.UPLOAD, work, config, files=files)


@pathology.command()
def register(
    disease: _Disease = None,
    callback_url: Annotated[str | None, _url("--callback-url")] = None,
    token_file: _TokenFile = TOKEN,
    upload_result_file: _UploadFile = UPLOAD,
    config: ConfigOption = None,
) -> None:
    """Step 4: tell the back end of the file that was uploaded."""

    async def work(steps: "Steps", teller: Teller) -> None:
        teller.say(await steps.register(_given(disease, "disease")))

    files = {"token": token_file, "upload": upload_result_file}
    _perform(Step.REGISTER, work, config, urls={"callback_url": callback_url}, files=files)


@pathology.command()
def create(
    disease: _Disease = None,
    source: _Source = None,
    is_run: _IsRun = True,
    create_url: Annotated[str | None, _url("--create-url")] = None,
    token_file: _TokenFile = TOKEN,
    upload_result_file: _UploadFile = UPLOAD,
    output_file: _OutputFile = RECORD,
    config: ConfigOption = None,
) -> None:
    """Step 5: create the slide's record, and with --is-run its analysis. Each call creates another one."""

    async def work(steps: "Steps", teller: Teller) -> None:
        teller.say(await steps.create(_given(disease, "disease"), source, is_run))

    files = {"token": token_file, "upload": upload_result_file, "record": output_file}
    _perform(Step.CREATE, work, config, urls={"create_url": create_url}, files=files)


@pathology.command()
def result(
    list_url: Annotated[str | None, _url("--list-url")] = None,
    token_file: _TokenFile = TOKEN,
    wsi_record_file: Annotated[
        Path, typer.Option("--wsi-record-file", help="What `create` wrote.", dir_okay=False)
    ] = RECORD,
    slide_id: Annotated[
        str | None, typer.Option("--slide-id", help="Of the record.", show_default="from --wsi-record-file")
    ] = None,
    wait_seconds: _WaitSeconds = WAIT_S,
    no_wait: _NoWait = False,
    config: ConfigOption = None,
) -> None:
    """Step 6: wait a little, ask once for the AI diagnosis, and print it. Exits with 3 where it is not ready."""

    async def work(steps: "Steps", teller: Teller) -> None:
        teller.say(await steps.result(slide_id, 0.0 if no_wait else wait_seconds))

    files = {"token": token_file, "record": wsi_record_file}
    _perform(Step.RESULT, work, config, urls={"list_url": list_url}, files=files)


@pathology.command()
def run(
    slide: Annotated[Path, typer.Argument(help="The slide file.")],
    disease: _Disease = None,
    organization: _Organization = None,
    date: _Date = None,
    source: _Source = None,
    is_run: _IsRun = True,
    wait_seconds: _WaitSeconds = WAIT_S,
    no_wait: _NoWait = False,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Of the files between the steps.", file_okay=False)
    ] = DATA,
    config: ConfigOption = None,
) -> None:
    """All six steps. Where the result is not ready (exit code 3), ask again with `orwatch pathology result`."""

    async def work(steps: "Steps", teller: Teller) -> None:
        # What cannot be sent is refused before anything is asked of the back end.
        teller.step = Step.REGISTER
        wanted = steps.check_disease(_given(disease, "disease"))
        teller.step = Step.UPLOAD
        await steps.check_upload(slide, organization, date)
        teller.step = Step.LOGIN
        teller.say(await steps.login())
        teller.step = Step.CREDENTIALS
        teller.say(await steps.credentials())
        teller.step = Step.UPLOAD
        teller.say(await steps.upload(slide, organization, date))
        teller.step = Step.REGISTER
        teller.say(await steps.register(wanted))
        teller.step = Step.CREATE
        teller.say(await steps.create(wanted, source, is_run))
        teller.step = Step.RESULT
        teller.say(await steps.result(None, 0.0 if no_wait else wait_seconds))

    names = {"token": TOKEN, "credentials": CREDENTIALS, "upload": UPLOAD, "record": RECORD}
    _perform(Step.LOGIN, work, config, files={key: data_dir / path.name for key, path in names.items()})


def _perform(
    first: Step,
    work: "Callable[[Steps, Teller], Awaitable[None]]",
    config: Path | None,
    *,
    files: dict[str, Path],
    urls: dict[str, str | None] | None = None,
) -> None:
    with Teller(first) as teller:
        import asyncio

        from daemon.cli.pathology.steps import Files, Steps
        from daemon.imaging.pathology.setup import pathology_rules_of
        from imaging.pathology.client import Pathology

        settings = _with(settings_of(config), urls or {})

        async def go() -> None:
            async with Pathology(pathology_rules_of(settings)) as client:
                await work(Steps(settings, client, Files(**files)), teller)

        asyncio.run(go())


def _with(settings: "Settings", urls: dict[str, str | None]) -> "Settings":
    """What the command line names comes before the configuration."""
    named = {key: url for key, url in urls.items() if url is not None}
    changed = settings.imaging.pathology.model_copy(update=named)
    return settings.model_copy(update={"imaging": settings.imaging.model_copy(update={"pathology": changed})})


def _given(value: T | None, name: str) -> T:
    """An option that the step cannot do without. Its absence has its status line too, unlike typer's own."""
    if value is None:
        from imaging.errors import InputInvalid

        raise InputInvalid(f"缺少必填选项 --{name.replace('_', '-')}。", field=name)
    return value
