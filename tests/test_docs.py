"""The documents say what is there: routes, codes, fields, metrics and keys are held against the code."""

import ast
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from fastapi import FastAPI
from fastapi.routing import APIWebSocketRoute
from pydantic import BaseModel

from daemon.api import confirmations, corrections, errors, events, schemas, status, surgeries, voice_terminals
from daemon.api.keys import RIGHTS, Right
from daemon.config import Settings, load
from daemon.config.sections import InferenceSettings
from daemon.domain.facts import Fact, FactKind
from daemon.domain.imaging import JobError, JobState
from daemon.health import Health
from daemon.imaging.backend import Site
from daemon.imaging.backends import wing_of
from daemon.imaging.fundus.routes import StudyRequest
from daemon.imaging.pathology.routes import AnalysisRequest
from daemon.pipeline.readings import COUNTERS
from daemon.storage.consumption_log import COLUMNS, STATUS
from daemon.storage.database import Unit, open_engine
from daemon.storage.objects import FolderStore
from inference.decisions import REASONS
from inference.modelfile import ModelFile
from inference.truth import load_truth

ROOT = Path(__file__).parents[1]
HIS = ROOT / "docs" / "his-integration.zh-CN.md"
OPERATIONS = ROOT / "docs" / "operations.md"
MODEL = ROOT / "docs" / "model.md"
IMAGING = ROOT / "docs" / "imaging.zh-CN.md"
DOCUMENTS = [HIS, OPERATIONS, MODEL, IMAGING, ROOT / "README.md", ROOT / "README.zh-CN.md"]


@cache
def text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text(path), re.DOTALL)


def api() -> FastAPI:
    app = FastAPI()
    for module in (status, surgeries, confirmations, corrections, events, voice_terminals):
        app.include_router(module.router)
    return app


# --- the HIS guide ---


def test_the_his_guide_names_every_route_and_no_other() -> None:
    spec = api().openapi()
    real = {f"{method.upper()} {path}" for path, methods in spec["paths"].items() for method in methods}
    sockets = [*events.router.routes, *voice_terminals.router.routes]
    real |= {f"WS {route.path}" for route in sockets if isinstance(route, APIWebSocketRoute)}

    named = set(re.findall(r"`((?:GET|POST|PUT|DELETE|WS) /[^`?]*)`", text(HIS)))

    assert named == real


async def test_the_imaging_guide_names_every_route_and_no_other(tmp_path: Path) -> None:
    async def told(_facts: list[Fact]) -> None: ...

    # Nothing of it is configured: its routes are there all the same.
    unit, app = Unit(open_engine(tmp_path / "ledger.db"), told), FastAPI()
    site = Site(settings=load(None, {"auth": {"mode": "none"}}), unit=unit, health=Health(), zone=None)
    routers = wing_of(site, FolderStore(tmp_path)).routers()
    for router in routers:
        app.include_router(router)
    real = {f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods}
    sockets = [route for router in routers for route in router.routes]
    real |= {f"WS {route.path}" for route in sockets if isinstance(route, APIWebSocketRoute)}

    assert set(re.findall(r"`((?:GET|POST|PUT|DELETE|WS) /[^`?]*)`", text(IMAGING))) == real


@pytest.mark.parametrize("model", [AnalysisRequest, StudyRequest])
def test_the_imaging_guide_names_every_field(model: type[BaseModel]) -> None:
    assert [name for name in model.model_fields if f"`{name}`" not in text(IMAGING)] == []


def test_the_imaging_guide_names_every_state_step_and_error_of_a_job() -> None:
    from daemon.imaging.fundus import job as fundus
    from daemon.imaging.pathology import job as pathology
    from daemon.imaging.retina import job as retina

    gateways = (fundus, pathology, retina)
    written = "".join(Path(module.__file__ or "").read_text(encoding="utf-8") for module in gateways)
    steps = set(re.findall(r'(?:name=|INFER = )"([a-z_]+)"', written))

    assert len(steps) == 11
    assert [word for word in (*JobState, *JobError, *steps) if f"`{word}`" not in text(IMAGING)] == []


def test_the_his_guide_names_every_code_and_no_other() -> None:
    real = {code for _, code in errors.TABLE.values()} | {code for _, code, _ in errors.FIXED.values()}
    real |= {code for code, _ in errors.HTTP.values()}
    # Written where they are answered, in the same package.
    written = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "daemon" / "api").glob("*.py"))
    real |= set(re.findall(r'(?:body\(|code, message = .*)"([A-Z_]{6,})"', written))

    assert {"VALIDATION_ERROR", "INTERNAL_ERROR", "TOO_MANY_REQUESTS", "HTTP_ERROR"} <= real
    named = set(re.findall(r"`([A-Z]{2,}(?:_[A-Z]+)+|UNAUTHORIZED|FORBIDDEN)`", text(HIS)))
    named |= set(re.findall(r"`((?:IMAGING|ULTRASOUND)_[A-Z_]+)`", text(IMAGING)))
    assert named == real


def test_the_his_guide_gives_each_code_its_status() -> None:
    rows = set(re.findall(r"^\| (\d{3}) \| `([A-Z_]+)` \|", text(HIS) + text(IMAGING), re.MULTILINE))
    wrong = [
        f"{code} is {answered}"
        for answered, code in [*errors.TABLE.values(), *[entry[:2] for entry in errors.FIXED.values()]]
        if (str(answered), code) not in rows and f"{answered} `{code}`" not in text(HIS)
    ]

    assert not wrong


@pytest.mark.parametrize(
    "model",
    [
        schemas.SurgeryStartRequest,
        schemas.SurgeryApiResponse,
        schemas.SurgeryResultResponse,
        schemas.ResultDetailWithStatus,
        schemas.ResultSummary,
        schemas.SurgeryPendingConfirmationResponse,
        schemas.PendingOption,
        schemas.ChooseRequest,
        schemas.SurgeryResolveResponse,
        schemas.CorrectionRequest,
        schemas.CorrectionResponse,
        schemas.Event,
        voice_terminals.VoiceAssignment,
        voice_terminals.VoicePendingUnspoken,
        voice_terminals.VoicePendingEmpty,
    ],
)
def test_the_his_guide_names_every_field(model: type[BaseModel]) -> None:
    missing = [name for name in model.model_fields if not re.search(rf'[`"]{name}(?:\[\])?[`"]', text(HIS))]

    assert not missing


def test_the_his_guide_names_every_kind_of_event_and_every_reason() -> None:
    assert [kind for kind in [*FactKind, *REASONS] if f"`{kind}`" not in text(HIS)] == []


def test_the_his_guide_says_which_role_may_do_what() -> None:
    rows = {
        cells[0].strip("` "): ["不" not in cell for cell in cells[1:]]
        for line in text(HIS).splitlines()
        if (cells := [cell.strip() for cell in line.strip("|").split("|")]) and len(cells) == 7
        if cells[0].strip("` ") in RIGHTS
    }

    assert rows == {role.value: [right in rights for right in (*Right,)] for role, rights in RIGHTS.items()}


def test_every_close_code_is_in_the_his_guide() -> None:
    codes = [
        value
        for name, value in vars(events).items()
        if name.isupper() and isinstance(value, int) and 4000 <= value < 5000
    ]

    assert len(codes) == 6
    assert [code for code in codes if str(code) not in text(HIS)] == []


def test_the_examples_of_the_his_guide_are_what_the_api_takes_and_gives() -> None:
    started, result, asked, event, *_ = blocks(HIS, "json")[1:]
    schemas.SurgeryApiResponse.model_validate_json(started)
    found = schemas.SurgeryResultResponse.model_validate_json(result)
    assert [total.total_quantity for total in found.summary] == [1]
    detail = errors.SurgeryClientErrorResponse.model_validate_json(asked).detail
    assert (503, detail.code) in errors.TABLE.values()
    assert set(json.loads(event)) == set(schemas.Event.model_fields)
    schemas.Event.model_validate_json(event)

    bodies = [json.loads(sent) for sent in re.findall(r"-d '([^']*)'", text(HIS))]
    schemas.SurgeryStartRequest.model_validate(bodies[0])
    schemas.ChooseRequest.model_validate(bodies[1])
    schemas.SurgeryEndRequest.model_validate(bodies[2])


def test_the_messages_of_a_voice_terminal_in_the_his_guide_are_those_that_are_sent() -> None:
    shown = blocks(HIS, "json")[-4:]
    sent: list[type[BaseModel]] = [
        voice_terminals.VoiceAssignment,
        voice_terminals.VoicePending,
        voice_terminals.VoicePendingUnspoken,
        voice_terminals.VoicePendingEmpty,
    ]

    for text_of, model in zip(shown, sent, strict=True):
        assert set(json.loads(text_of)) == set(model.model_fields)
        model.model_validate_json(text_of)


def test_a_client_waits_longer_than_a_start_may_take() -> None:
    surgery = load(None, {"auth": {"mode": "none"}}).surgery

    assert surgery.start_attempts * surgery.start_timeout_s < 300
    assert "--max-time 300" in text(HIS)


# --- operations ---


def metrics() -> set[str]:
    """The names that the code gives its metrics, as Prometheus shows them."""
    found: set[str] = set()
    for name in (
        "daemon/metrics.py",
        "daemon/pipeline/readings.py",
        "daemon/services/archive.py",
        "daemon/imaging/jobs/jobs.py",
        "daemon/imaging/jobs/deliveries.py",
        "daemon/imaging/ultrasound/desk.py",
    ):
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                kind, value = ast.unparse(node.func), node.args[0].value
                if isinstance(value, str) and value.startswith("orwatch_"):
                    found.add(value.removesuffix("_total") + ("_total" if kind.lower() == "counter" else ""))
    return found | {f"orwatch_camera_{name}_total" for name in COUNTERS}


def test_operations_names_every_metric_and_no_other() -> None:
    named = re.findall(r"`(orwatch_\w+)[`{]", text(OPERATIONS))

    assert len(metrics()) > len(COUNTERS)
    assert set(named) == metrics()


def test_operations_names_every_column_and_status_of_the_log() -> None:
    assert [name for name in COLUMNS if f"`{name}`" not in text(OPERATIONS)] == []
    assert [word for word in STATUS.values() if word not in text(OPERATIONS)] == []


def test_the_configuration_in_operations_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OR_CAM_01_PASSWORD", "secret")
    configuration, keys = blocks(OPERATIONS, "toml")
    file = tmp_path / "orwatch.toml"
    file.write_text(configuration, encoding="utf-8")

    settings = load(file)

    assert settings.rooms["or-1"].cameras == ["or-cam-01"]
    assert [entry["role"] for entry in tomllib.loads(keys)["keys"]] == ["his", "nurse"]


def test_the_keys_in_operations_are_read(tmp_path: Path) -> None:
    from daemon.api.keys import read_keys

    file = tmp_path / "keys.toml"
    file.write_text(blocks(OPERATIONS, "toml")[1], encoding="utf-8")
    file.chmod(0o600)

    assert read_keys(file, frozenset({"or-1"})).caller("not it") is None


# --- the model guide ---


def table_keys(path: Path, heading: str) -> set[str]:
    """The words of the first column of the table under this heading row."""
    rows = re.search(rf"^\| {heading} \|.*\n((?:\|.*\n)+)", text(path), re.MULTILINE)
    assert rows
    return {word for row in rows[1].splitlines()[1:] for word in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_model_guide_names_every_key_of_the_model_file_and_no_other() -> None:
    assert table_keys(MODEL, "key") == set(ModelFile.model_fields)


def test_the_model_guide_gives_the_defaults_of_the_thresholds() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text(MODEL), re.MULTILINE)
    defaults: dict[str, Any] = {name: field.default for name, field in InferenceSettings.model_fields.items()}
    elsewhere = {"background", "frame_age_max_s", "batch_max", "queue_max"}

    assert {name: float(value) for name, value in rows} == {
        name: value for name, value in defaults.items() if name not in elsewhere
    }


def test_the_examples_of_the_model_guide_are_read(tmp_path: Path) -> None:
    described, truth = blocks(MODEL, "yaml")
    ModelFile.model_validate(yaml.safe_load(described))
    (tmp_path / "or-cam-01.mp4").touch()
    (tmp_path / "truth.yaml").write_text(truth, encoding="utf-8")

    assert len(load_truth(tmp_path / "truth.yaml").recordings["or-cam-01.mp4"].items) == 2


def test_the_model_guide_names_every_choice() -> None:
    for name in ("output", "fit", "channels", "layout", "dtype"):
        row = re.search(rf"^\| `{name}` \|.*$", text(MODEL), re.MULTILINE)
        assert row
        choices = {choice for kind in (ModelFile.model_fields[name].annotation,) for choice in _literals(kind)}
        assert choices, name
        assert [choice for choice in choices if f"`{choice}`" not in row[0]] == []


def _literals(kind: Any) -> set[str]:
    return {each for arg in get_args(kind) for each in ({arg} if isinstance(arg, str) else _literals(arg))}


# --- all of them ---

# A setting in prose: `section.key` (default 8) MiB. Any other number after "default" is that of a parameter.
STATED = re.compile(r"`((?:[a-z][a-z0-9_]*\.)+[a-z][a-z0-9_]*)`\s?[（(](?:默认|default)\s`?([\w.]+)`?[)）]")
DEFAULT = re.compile(r"(?:默认|缺省|\bdefaults?\b)[^|\n0-9`；;]{0,12}([\d.]*\d)")
PARAMETERS = {
    "`GET /client/surgeries`",
    "`low_confidence_p`",
    "`mm_crop_zone_nerve`",
    "`image`",
}  # the rows that name them
PAGES = sorted({*(ROOT / "docs").glob("*.md"), *DOCUMENTS})


def defaults(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Each setting by its name, with its default."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= defaults(field.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = field.default
    return found


def shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def test_a_default_that_a_document_states_is_that_of_the_setting() -> None:
    settings = defaults(Settings)
    stated = [(page.name, key, said) for page in PAGES for key, said in STATED.findall(text(page))]

    wrong = [(page, key, said) for page, key, said in stated if said != shown(settings.get(key))]
    assert len(stated) >= 11
    assert not wrong


def test_a_default_in_a_document_names_its_setting() -> None:
    nameless = [
        (page.name, line)
        for page in PAGES
        for line in text(page).splitlines()
        if DEFAULT.search(STATED.sub("", line)) and not any(f"| {row}" in line for row in PARAMETERS)
    ]
    assert not nameless


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_blocks_parse(path: Path) -> None:
    for block in blocks(path, "json"):
        json.loads(block)
    for block in blocks(path, "toml"):
        tomllib.loads(block)
    for block in blocks(path, "yaml"):
        yaml.safe_load(block)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = [target for target in re.findall(r"\]\(([^)#]+)", text(path)) if "://" not in target]

    assert [target for target in links if not (path.parent / target).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_of_orwatch_exist(path: Path) -> None:
    from typer.main import get_command

    from daemon.cli.root import orwatch

    top = getattr(get_command(orwatch), "commands", {})
    for line in "\n".join(blocks(path, "bash")).replace("\\\n", " ").splitlines():
        if called := re.search(r"(?:^|/|-- )orwatch ((?:[a-z-]+ ?)+)(.*)$", line):
            words = called[1].split()
            assert words[0] in top, line
            command = top[words[0]]
            if hasattr(command, "commands"):
                assert words[1] in command.commands, line
                command = command.commands[words[1]]
            options = {option for parameter in command.params for option in parameter.opts}
            assert set(re.findall(r"--[a-z-]+", called[2])) <= options, line
