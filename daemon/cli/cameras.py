"""`orwatch cameras`: which there are, and what they send."""

from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.failures import CommandFailed, line_of
from daemon.cli.options import ConfigOption, console, settings_of

if TYPE_CHECKING:
    from daemon.cli.probing import Probed, Wanted
    from daemon.config import Settings

cameras = typer.Typer(no_args_is_help=True, help="The cameras: list them, or connect and see what they send.")


@cameras.command("list")
def list_(config: ConfigOption = None) -> None:
    """List the configured cameras, their rooms and addresses, without passwords."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from streams.address import redacted

    settings = settings_of(config)
    _some(settings)
    room_of = {camera: name for name, room in settings.rooms.items() for camera in room.cameras}
    table = Table("camera", "room", "url", "detect_url", "transport", box=box.SIMPLE_HEAD)
    for name, camera in settings.cameras.items():
        sub = redacted(camera.detect_url.get_secret_value()) if camera.detect_url else ""
        main = redacted(camera.url.get_secret_value())
        table.add_row(name, escape(room_of.get(name, "")), escape(main), escape(sub), camera.transport)
    console().print(table)


@cameras.command()
def probe(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME|URL]...", help="Configured cameras, rtsp:// addresses or files.", show_default="every camera"
        ),
    ] = None,
    config: ConfigOption = None,
    timeout: Annotated[float, typer.Option(min=1, max=120, help="Seconds to connect and listen to each.")] = 10.0,
) -> None:
    """Connect to cameras and show what they send, with advice. Exits with 1 if any gives no picture."""
    import asyncio

    from daemon.cli.probing import probe_all

    probed = asyncio.run(probe_all(_wanted(names or [], settings_of(config)), timeout))
    _show(probed)
    if any(each.error for each in probed):
        raise typer.Exit(1)


def _wanted(names: list[str], settings: "Settings") -> "list[Wanted]":
    from pathlib import Path

    from pydantic import SecretStr, ValidationError

    from daemon.cli.probing import Wanted
    from daemon.config import CameraSettings
    from streams.address import redacted

    if not names:
        _some(settings)
        names = list(settings.cameras)
    wanted: list[Wanted] = []
    for name in names:
        if name in settings.cameras:
            wanted += Wanted.of_camera(name, settings.cameras[name])
        elif "://" in name or Path(name).exists():
            try:
                wanted += Wanted.of_camera("", CameraSettings(url=SecretStr(name)))
            except ValidationError as error:
                why = error.errors()[0]["msg"].removeprefix("Value error, ")
                raise typer.BadParameter(f"{redacted(name)}: {why}") from None
        else:
            known = ", ".join(settings.cameras) or "none is configured"
            raise typer.BadParameter(f"{name!r} is no camera (configured: {known}), no rtsp:// address and no file")
    return wanted


def _some(settings: "Settings") -> None:
    if not settings.cameras:
        raise CommandFailed(
            "no camera is configured", hint="Add [cameras.NAME] with a url to the configuration, or name an rtsp:// url"
        )


def _show(probed: "list[Probed]") -> None:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from daemon.cli.probing import advice, colors, gop
    from streams.turned import UPRIGHT

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("camera", "address", "codec", "size", "fps", "key frames", "Mbit/s", "first picture", "colours"):
        table.add_column(heading, justify="right" if heading in ("fps", "Mbit/s", "first picture") else "left")
    remarks = []
    for each in probed:
        name, info = escape(each.wanted.name), each.info
        if info is None:
            table.add_row(name, escape(each.address), "[bold red]no picture[/]")
            assert each.error is not None
            remarks.append(f"[bold red]problem[/] {name or escape(each.address)}: {escape(line_of(each.error) or '')}")
            continue
        table.add_row(
            name,
            escape(each.address),
            info.codec,
            f"{info.width}x{info.height}" + ("" if info.turn == UPRIGHT else f", {info.turn.told}"),
            f"{info.fps:.4g}",
            f"every {gop(info)}",
            f"{info.bitrate_bps / 1e6:.2f}",
            f"{info.first_key_frame_s:.2f} s",
            colors(each.wanted, info),
        )
        remarks += [
            f"[yellow]advice[/] {name or escape(each.address)}: {escape(text)}" for text in advice(each.wanted, info)
        ]
    out = console()
    out.print(table)
    for remark in remarks:
        out.print(remark, soft_wrap=True)
