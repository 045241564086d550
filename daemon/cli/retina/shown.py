"""What `orwatch retina` is made of. Imported by it when it runs: this loads the client of the server."""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from daemon.cli.options import console
from daemon.cli.said import say
from daemon.config import Settings
from daemon.imaging.retina.setup import retina_of
from imaging.errors import InputInvalid
from imaging.retina.analysis import Retina
from imaging.retina.parameters import Parameters, parse_parameters

__all__ = ["analyzed", "check_places", "parse_parameters"]


def check_places(images: Sequence[Path], out: Path | None) -> None:
    """Two results must not meet in one folder."""
    if out is None:
        return
    stems = [image.stem for image in images]
    if twice := sorted({stem for stem in stems if stems.count(stem) > 1}):
        raise typer.BadParameter(f"有多个图像名为 {'、'.join(twice)}，结果会写到同一处", param_hint="--out")
    if taken := [stem for stem in stems if (out / stem).exists()]:
        raise typer.BadParameter(f"{out} 里已有 {'、'.join(taken[:5])}，请换一个文件夹", param_hint="--out")


async def analyzed(settings: Settings, images: Sequence[Path], parameters: Parameters, out: Path | None) -> bool:
    """Print what was found; False where an image could not be used. Raises what the model's server does wrong."""
    found: list[dict[str, Any]] = []
    async with retina_of(settings) as retina:
        await retina.check()
        for image in images:
            try:
                found.append({"filename": image.name, **await _one(retina, image, parameters, out)})
            except InputInvalid as error:
                say(error.message)
    if found:
        told = found[0] if len(images) == 1 else found
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2, allow_nan=False))
    return len(found) == len(images)


async def _one(retina: Retina, image: Path, parameters: Parameters, out: Path | None) -> dict[str, Any]:
    """What is written appears whole: a folder that is there holds a result and its masks."""
    with tempfile.TemporaryDirectory(prefix=".retina-", dir=_made(out)) as name:
        folder = Path(name) / image.stem
        folder.mkdir()
        with console(err=True).status(escape(f"{image.name}：等待推理")) as status:
            result = await retina.analyse(
                image, parameters, into=folder, progress=lambda _, text: status.update(escape(f"{image.name}：{text}"))
            )
        if out is not None:
            content = json.dumps(result, ensure_ascii=False, indent=2, allow_nan=False)
            (folder / "result.json").write_text(content, encoding="utf-8")
            folder.rename(out / image.stem)
    return result


def _made(out: Path | None) -> Path | None:
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    return out
