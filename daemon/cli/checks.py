"""What `orwatch check` looks at. Each check gives lines; none of them stops the next, and none changes anything."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np

import daemon
from daemon.app import listening
from daemon.assembly import background_of, load_catalogue, load_keys, load_model, store_of, trust_of
from daemon.assembly.speech import recognizer, spoken_names, synthesizer
from daemon.cli.failures import line_of
from daemon.cli.lines import NOTE, OK, PROBLEM, Line, listed
from daemon.cli.model_checks import check_model
from daemon.cli.probing import Wanted, advice, probe_all, summary
from daemon.config import CameraSettings, Settings
from daemon.config.speech import SpeechSettings
from daemon.domain.catalogue import resolve_candidates
from daemon.storage import migrate
from inference.model import Model
from inference.runtime import onnxruntime
from speech.errors import NotUnderstood
from speech.mentions import AnswerOption
from speech.phrases import phrases
from speech.provider import RATE_HZ, Recognizer, Synthesizer
from speech.sound_alikes import sound_alikes

_A_QUESTION = "请确认：刚才使用的是纱布吗？"
_AN_OPTION = (AnswerOption(label="纱布", names=("纱布",)),)


def check_installation() -> list[Line]:
    return [*gathered("package", _package), *gathered("onnxruntime", _runtime)]


def check_site(settings: Settings) -> list[Line]:
    """All that can be seen without connecting to anything."""
    model: list[Model] = []

    def load() -> Iterator[Line]:
        model.append(load_model(settings))
        yield from check_model(settings, model[0])

    lines = gathered("cameras", lambda: _cameras(settings))
    lines += gathered("access", lambda: _access(settings))
    lines += gathered("model", load)
    lines += gathered("catalogue", lambda: _catalogue(settings, model[0] if model else None))
    lines += gathered("ledger", lambda: _ledger(settings))
    lines += gathered("objects", lambda: _objects(settings))
    for name, line in _speech(settings):
        lines += gathered(name, line)
    lines += gathered("logs", lambda: _logs(settings))
    lines += gathered("port", lambda: _port(settings))
    return lines


def check_servers(settings: Settings) -> list[Line]:
    """Connect to the archive and the object store, where there are any."""
    lines = gathered("archive", lambda: _archive(settings))
    if settings.objects.backend == "minio":
        lines += gathered("objects", lambda: _object_store(settings))
    for voice in settings.speech.tts:
        lines += gathered(f"speech {voice}", partial(_speaks, settings, voice))
    for ear in settings.speech.asr:
        lines += gathered(f"speech {ear}", partial(_hears, settings, ear))
    return lines


async def check_cameras(settings: Settings) -> list[Line]:
    """Connect to every stream of every camera."""
    wanted = [each for name, camera in settings.cameras.items() for each in Wanted.of_camera(name, camera)]
    timeout_s = max((camera.connect_timeout_s for camera in settings.cameras.values()), default=10.0)
    lines = []
    for probed in await probe_all(wanted, timeout_s):
        what = f"camera {probed.wanted.name}"
        if probed.info is None:
            assert probed.error is not None
            lines.append(Line(PROBLEM, what, str(probed.error), probed.error.hint))
        else:
            lines.append(Line(OK, what, summary(probed.wanted, probed.info)))
            lines += [Line(NOTE, what, text) for text in advice(probed.wanted, probed.info)]
    return lines


class _Gather:
    """Turns a foreseen error into a problem line, so that the checks after it still run."""

    def __init__(self, what: str, lines: list[Line]) -> None:
        self._what = what
        self._lines = lines

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if error is None or (line := line_of(error)) is None:
            return False
        hint = getattr(error, "hint", "")
        self._lines.append(Line(PROBLEM, self._what, line.removesuffix(hint).strip(), hint))
        return True


def gathered(what: str, lines_of: Callable[[], Iterator[Line]]) -> list[Line]:
    lines: list[Line] = []
    with _Gather(what, lines):
        for line in lines_of():
            lines.append(line)
    return lines


def _package() -> Iterator[Line]:
    # python-daemon installs a package of the same name into the same folder and overwrites ours.
    home = Path(daemon.__file__).parent
    try:
        other = metadata.version("python-daemon")
    except metadata.PackageNotFoundError:
        yield Line(OK, "package", f"orwatch {daemon.__version__} in {home}")
    else:
        yield Line(
            PROBLEM,
            "package",
            f"python-daemon {other} is installed and has the same import name, daemon; imported is {home}",
            "Install orwatch in a virtual environment of its own, without python-daemon.",
        )


def _runtime() -> Iterator[Line]:
    runtime = onnxruntime()
    yield Line(OK, "onnxruntime", f"{runtime.__version__}, offers {', '.join(runtime.get_available_providers())}")


def _cameras(settings: Settings) -> Iterator[Line]:
    if not settings.cameras:
        yield Line(PROBLEM, "cameras", "none is configured", "Add [cameras.NAME] with a url.")
        return
    in_rooms = {camera for room in settings.rooms.values() for camera in room.cameras}
    yield Line(OK, "cameras", f"cameras: {len(settings.cameras)}, rooms: {len(settings.rooms)}")
    if settings.rooms and (lost := [name for name in settings.cameras if name not in in_rooms]):
        yield Line(NOTE, "cameras", f"in no room: {listed(lost)}", "Name them in [rooms.NAME] cameras.")
    for name, camera in settings.cameras.items():
        yield from _encryption(f"camera {name}", camera)


def _encryption(what: str, camera: CameraSettings) -> Iterator[Line]:
    try:
        trust_of(camera).context()
    except ValueError as error:
        yield Line(PROBLEM, what, str(error), "Set ca_file to a PEM file that can be read.")
    if not camera.verify_tls and camera.is_encrypted:
        yield Line(
            NOTE,
            what,
            "verify_tls = false: the password is told to whoever answers at its address",
            "Set certificate_sha256 or ca_file instead.",
        )
    if not camera.is_encrypted and (camera.ca_file or camera.certificate_sha256 or not camera.verify_tls):
        yield Line(NOTE, what, "ca_file, certificate_sha256 and verify_tls have no effect: no url of it is rtsps://")
    if camera.transport == "udp" and camera.is_encrypted:
        yield Line(NOTE, what, 'transport = "udp" has no effect on rtsps://, which is read over TCP')


def _access(settings: Settings) -> Iterator[Line]:
    keys = load_keys(settings)
    where = f"{settings.server.host}:{settings.server.port}"
    if keys is not None:
        yield Line(OK, "access", f"API keys from {settings.auth.keys_file}")
    elif settings.server.is_loopback:
        yield Line(OK, "access", f"no API key asked for, reachable from this machine only ({where})")
    else:
        yield Line(
            NOTE, "access", f'auth.mode = "none": everyone who reaches {where} may do everything', "Set auth.keys_file."
        )


def _catalogue(settings: Settings, model: Model | None) -> Iterator[Line]:
    catalogue = load_catalogue(settings)
    if settings.catalogue.path is None:
        yield Line(NOTE, "catalogue", "none: the model's labels stand for names and codes", "Set catalogue.path.")
        return
    yield Line(OK, "catalogue", f"{settings.catalogue.path}: {len(catalogue.products)} products")
    if alike := sound_alikes(spoken_names(catalogue)):
        yield Line(
            NOTE,
            "catalogue",
            f"{len(alike)} pairs of names that sound alike: {listed([f'{a.name} / {a.other_name}' for a in alike])}",
            "Give one of each pair an alias that does not, and say that one; ordinals always work.",
        )
    if model is None:
        return
    background = background_of(settings, model)
    unseen = resolve_candidates((), catalogue, model.labels, background).unseen
    if len(unseen) == len(catalogue.products):
        yield Line(
            PROBLEM,
            "catalogue",
            f"no label of the model names any product; the labels are {listed(list(model.labels))}",
            "Use the labels as names or aliases in the catalogue.",
        )
        return
    if unseen:
        yield Line(
            NOTE,
            "catalogue",
            f"{len(unseen)} products that the model has no label for, never booked: {listed(list(unseen))}",
            "Add a label of the model as an alias, or train the model on them.",
        )
    nameless = [label for label in model.labels if label not in background and catalogue.find(label) is None]
    if nameless:
        yield Line(
            NOTE,
            "catalogue",
            f"{len(nameless)} labels without a product, no candidates unless asked for: {listed(nameless)}",
            "Add them to the catalogue as names or aliases.",
        )


def _ledger(settings: Settings) -> Iterator[Line]:
    path = settings.database.ledger
    if (problem := unusable("ledger", path.parent, "database.ledger")) is not None:
        yield problem
        return
    yield _schema("ledger", path, "not there yet, the first start makes it")


def _logs(settings: Settings) -> Iterator[Line]:
    folder = settings.logs.folder
    made = "writable" if folder.exists() else "not there yet, the first surgery makes it"
    yield unusable("logs", folder, "logs.folder") or Line(OK, "logs", f"{folder}: {made}")


def _objects(settings: Settings) -> Iterator[Line]:
    if not settings.objects.evidence:
        yield Line(NOTE, "objects", "evidence is off: no pictures and clips of what is booked or asked")
        return
    folders = {"spool": settings.objects.spool}
    if settings.objects.backend == "folder":
        folders["folder"] = settings.objects.folder
    for key, folder in folders.items():
        yield unusable("objects", folder, f"objects.{key}") or Line(OK, "objects", f"{key} {folder}")


def _object_store(settings: Settings) -> Iterator[Line]:
    store_of(settings).check()
    yield Line(OK, "objects", f"bucket {settings.objects.bucket} on {settings.objects.endpoint}")


def _speech(settings: Settings) -> Iterator[tuple[str, Callable[[], Iterator[Line]]]]:
    """Whether each provider can be set up, without asking it anything."""
    for key, make in (("tts", synthesizer), ("asr", recognizer)):
        names: list[str] = getattr(settings.speech, key)
        if not names:
            yield f"speech.{key}", partial(_silent, key)
        for name in names:
            yield f"speech {name}", partial(_set_up, settings, key, name, make)


def _silent(key: str) -> Iterator[Line]:
    yield Line(NOTE, f"speech.{key}", "none: questions are shown and answered by touch")


def _set_up(
    settings: Settings, key: str, name: str, make: Callable[[str, SpeechSettings], Synthesizer | Recognizer]
) -> Iterator[Line]:
    make(name, settings.speech)
    yield Line(OK, f"speech {name}", f"can be used for speech.{key}")


def _speaks(settings: Settings, name: str) -> Iterator[Line]:
    spoken = synthesizer(name, settings.speech).synthesize(_A_QUESTION)
    yield Line(OK, f"speech {name}", f"speaks: {spoken.duration_s:.1f} s of sound")


def _hears(settings: Settings, name: str) -> Iterator[Line]:
    """An ear that answers at all is well: this is no test of how well it hears."""
    with suppress(NotUnderstood):
        recognizer(name, settings.speech).recognize(_a_tone(), phrases(_AN_OPTION))
    yield Line(OK, f"speech {name}", "hears")


def _a_tone() -> np.ndarray:
    """One second that is no speech."""
    tone = 3000 * np.sin(np.arange(RATE_HZ) * (2 * np.pi * 440 / RATE_HZ))
    return np.asarray(tone, np.int16)


def _archive(settings: Settings) -> Iterator[Line]:
    if settings.database.url is None:
        return
    url = migrate.archive_at(settings.database.url.get_secret_value())
    yield _schema("archive", url, "empty, the first start fills it")


def _schema(what: str, database: migrate.Database, nothing: str) -> Line:
    name, found, newest = migrate.shown(database), migrate.current(database), migrate.head()
    if found is None:
        return Line(OK, what, f"{name}: {nothing}")
    if found == newest:
        return Line(OK, what, f"{name}: schema {found}")
    told = f"{name}: schema {found}, this orwatch works on {newest}"
    return Line(PROBLEM, what, told, migrate.SchemaUnknown.hint)


def unusable(what: str, folder: Path, key: str) -> Line | None:
    """Why the folder cannot be written, or made where it is not there yet. Leaves nothing behind."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            return None
    except OSError as error:
        mend = f"Give uid {os.geteuid()} that folder, or set {key} to another."
        return Line(PROBLEM, what, f"{folder}: {there} cannot be written: {error.strerror}", mend)


def _port(settings: Settings) -> Iterator[Line]:
    host, port = settings.server.host, settings.server.port
    listening(host, port).close()
    yield Line(OK, "port", f"{host}:{port} is free")
