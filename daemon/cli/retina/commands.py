"""`orwatch retina`: OCT images through the configured model, without a daemon.

Results go to stdout, everything else to stderr.
"""

from pathlib import Path
from typing import Annotated

import typer

from daemon.cli.options import ConfigOption, settings_of

retina = typer.Typer(no_args_is_help=True, help="OCT retina: by a KServe-v2 server or a local ONNX model.")


@retina.callback()
def about() -> None:
    """OCT retina: by a KServe-v2 server or a local ONNX model."""


@retina.command()
def analyze(
    images: Annotated[list[Path], typer.Argument(help="PNG, JPEG or DICOM, volumes too.", show_default=False)],
    parameters: Annotated[
        str, typer.Option("--parameters", "-p", help="As the header Inference-Parameters: a JSON object.")
    ] = "",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="A folder for results and masks, one folder an image.", file_okay=False),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Analyze images and print the result, for several a list, as a webhook would have it.

    An image that cannot be used is told, the others are done; then it exits with 1.
    """
    import asyncio

    from daemon.cli.retina import shown as steps
    from daemon.cli.said import misuse_told

    with misuse_told():
        settings = settings_of(config)
        steps.check_places(images, out)
        asked = steps.parse_parameters(parameters)
        are_all_done = asyncio.run(steps.analyzed(settings, images, asked, out))
    if not are_all_done:
        raise typer.Exit(1)
