"""`orwatch speech`: hear what a nurse would hear, and see what would be made of an answer."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.cli.options import ConfigOption, console, settings_of

if TYPE_CHECKING:
    from daemon.config import Settings
    from speech.mentions import AnswerOption

speech = typer.Typer(no_args_is_help=True, help="Try the voices and the ears of the configuration.")

_Out = typer.Option("--out", "-o", help="The MP3 to write.", dir_okay=False)
_Only = typer.Option("--provider", help="Only this one of speech.tts or speech.asr.", show_default="in their order")


@speech.command()
def say(
    text: Annotated[str, typer.Argument(help="What to say, in Chinese.")],
    config: ConfigOption = None,
    out: Annotated[Path, _Out] = Path("say.mp3"),
    provider: Annotated[str | None, _Only] = None,
) -> None:
    """Speak a text as a question would be spoken, and write the MP3."""
    import time

    from daemon.assembly.speech import voice_of

    settings = _only(settings_of(config), "tts", provider)
    voice = voice_of(settings.speech, _told)
    began_mono_s = time.monotonic()
    spoken = voice.speak(text)
    took_ms = (time.monotonic() - began_mono_s) * 1000
    out.write_bytes(spoken.mp3)
    typer.echo(f"{spoken.provider}: {spoken.duration_s:.1f} s of sound in {took_ms:.0f} ms, wrote {out}")


@speech.command()
def hear(
    recording: Annotated[Path, typer.Argument(help="A WAV file.", exists=True, dir_okay=False)],
    options: Annotated[
        str, typer.Option(help="Names, aliases or codes of the consumables asked about, with commas between.")
    ],
    config: ConfigOption = None,
    provider: Annotated[str | None, _Only] = None,
) -> None:
    """Hear an answer as it would be heard. Exits with 1 where it would settle nothing."""
    import time

    from rich.markup import escape

    from daemon.assembly.speech import answer_rules_of, ear_of
    from speech.answers import Meaning, understand
    from speech.audio import read_answer
    from speech.phrases import phrases

    settings = _only(settings_of(config), "asr", provider)
    asked = _options(settings, options)
    heard_by = ear_of(settings.speech, _told)
    began_mono_s = time.monotonic()
    sound = read_answer(recording.read_bytes(), answer_rules_of(settings).audio)
    heard = heard_by.hear(sound.pcm, phrases(asked))
    took_ms = (time.monotonic() - began_mono_s) * 1000
    understood = understand(heard.text, asked)
    sure = f", confidence {heard.confidence:.2f}" if heard.confidence is not None else ""
    show = console()
    show.print(f"{sound.speech_s:.1f} s of speech, heard by {heard.provider} in {took_ms:.0f} ms{sure}")
    show.print(f"text     {escape(heard.text)}")
    show.print(f"meaning  {understood.meaning.value} {escape(understood.label or '')} (rule {understood.why})")
    if understood.meaning not in (Meaning.CHOSEN, Meaning.REJECTED):
        raise typer.Exit(1)


def _options(settings: "Settings", names: str) -> "list[AnswerOption]":
    from daemon.assembly import load_catalogue
    from speech.mentions import AnswerOption

    words = [word.strip() for word in names.replace("，", ",").split(",") if word.strip()]
    if not words:
        raise typer.BadParameter("expected at least one name", param_hint="--options")
    catalogue = load_catalogue(settings)
    options = []
    for word in words:
        product = catalogue.find(word)
        also = product.spoken if product else ()
        options.append(AnswerOption(label=word, names=tuple(dict.fromkeys((word, *also)))))
    return options


def _only(settings: "Settings", key: str, provider: str | None) -> "Settings":
    """The configuration with one provider."""
    if provider is None:
        return settings
    known = getattr(settings.speech, key)
    if provider not in known:
        raise typer.BadParameter(f"speech.{key} has {known}, not {provider!r}", param_hint="--provider")
    return settings.model_copy(update={"speech": settings.speech.model_copy(update={key: [provider]})})


def _told(name: str, is_ok: bool, why: str) -> None:
    if not is_ok:
        typer.echo(f"{name}: {why}", err=True)
