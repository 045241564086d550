"""A configuration is right, or it stops the start and says which key, which value and what was expected."""

import json
import os
from pathlib import Path

import pytest

from daemon.assembly import load_keys
from daemon.config import ConfigError, Settings, load
from net.address import parts_of


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ORWATCH_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


@pytest.fixture
def configured(tmp_path: Path) -> "Configured":
    return Configured(tmp_path / "orwatch.toml")


class Configured:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, text: str) -> Settings:
        self.path.write_text(text, encoding="utf-8")
        return load(self.path)

    def refused(self, text: str) -> str:
        with pytest.raises(ConfigError) as refused:
            self(text)
        return str(refused.value)


SITE = """
[cameras.or-cam-01]
url = "rtsp://ops:${CAM_PASSWORD}@10.0.0.1/main"
detect_url = "rtsp://10.0.0.1/sub"
[cameras.or-cam-02]
url = "clips/two.mp4"
[rooms.or-1]
cameras = ["or-cam-01"]
voice_terminal = "vt-01"
"""


def test_an_empty_file_is_the_defaults(configured: Configured) -> None:
    settings = configured("")
    assert (settings.server.host, settings.server.port, settings.auth.mode) == ("127.0.0.1", 38080, "keys")
    assert settings.database.ledger == configured.path.parent / "var/ledger.db"


def test_a_site(configured: Configured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAM_PASSWORD", "geheim")
    settings = configured(SITE)
    assert settings.cameras["or-cam-01"].url.get_secret_value() == "rtsp://ops:geheim@10.0.0.1/main"
    assert settings.cameras["or-cam-02"].url.get_secret_value() == str(configured.path.parent / "clips/two.mp4")
    assert settings.room_of(frozenset({"or-cam-01"})) == "or-1"
    assert settings.room_of(frozenset({"or-cam-01", "or-cam-02"})) is None
    assert "geheim" not in repr(settings)
    assert "geheim" not in settings.model_dump_json()


def credentials(settings: Settings, camera: str = "c") -> tuple[str | None, str | None, str]:
    parts = parts_of(settings.cameras[camera].url.get_secret_value())
    return parts.user, parts.password, parts.host


@pytest.mark.parametrize("secret", ["p@ss/w?r#d:1%2", "100%", "p%40ss", " blank ", "密码", "a&b=c+d"])
def test_what_a_variable_stands_for_is_written_plainly(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("SECRET", secret)
    monkeypatch.setenv("BOTH", f"ops:{secret}")
    monkeypatch.setenv("WHOLE", "rtsp://ops:p%40ss@cam/1")
    monkeypatch.setenv("HOST", "cam:554")
    for url in ("rtsp://ops:${SECRET}@cam/1", "rtsp://${BOTH}@cam/1", "rtsp://ops:${SECRET}@${HOST}/1"):
        for key in ("url", "url = 'rtsp://cam/2'\ndetect_url"):
            settings = configured(f"[cameras.c]\n{key} = '{url}'")
            camera = settings.cameras["c"]
            parts = parts_of((camera.detect_url or camera.url).get_secret_value())
            assert (parts.user, parts.password, parts.host) == ("ops", secret, "cam")
    assert credentials(configured("[cameras.c]\nurl = '${WHOLE}'")) == ("ops", "p@ss", "cam")


@pytest.mark.parametrize(
    "url", ["rtsp://ops:12#34secret@cam.example/1", "rtsp://ops:p@secret/x@cam/1", "rtsp://ops:%40secret#@cam/1"]
)
def test_a_password_that_can_be_read_in_two_ways_is_refused(configured: Configured, url: str) -> None:
    for key in ("url", "detect_url"):
        said = configured.refused(f"[cameras.c]\nurl = 'x'\n{key} = '{url}'".replace("url = 'x'\nurl", "url"))
        assert f"cameras.c.{key}: (hidden): " in said
        assert "%23" in said
        assert "secret" not in said


def test_a_raw_password_that_is_clear_is_taken(configured: Configured) -> None:
    assert credentials(configured("[cameras.c]\nurl = 'rtsp://ops:pa#ss@cam/1'")) == ("ops", "pa#ss", "cam")


def test_a_certificate_authority_is_found_beside_the_file(configured: Configured) -> None:
    settings = configured("[cameras.c]\nurl = 'rtsps://cam/1'\nca_file = 'ca.pem'")
    assert settings.cameras["c"].ca_file == configured.path.parent / "ca.pem"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[sever]\nport = 1", "sever: unknown key"),
        (
            "[cameras.a]\nurl = 'rtsps://x'\ncertificate_sha256 = 'abc'",
            "cameras.a.certificate_sha256: 'abc': expected the",
        ),
        ("[cameras.a]\nurl = 'rtsps://x'\nca_file = 'a'\nverify_tls = false", "ca_file and verify_tls = false exclude"),
        ("[server]\nprot = 1", "server.prot: unknown key"),
        ("[cameras.a]\nurl = 'x'\nfps = 3", "cameras.a.fps: unknown key"),
        ("[server]\nport = 70000", "server.port: 70000: Input should be less than or equal to 65535"),
        ("[server]\nport = 'http'", "server.port: 'http'"),
        ("[server]\nbody_max_kib = 0", "server.body_max_kib: 0"),
        ("[auth]\nmode = 'open'", "auth.mode: 'open': Input should be 'keys' or 'none'"),
        ("[cameras.a]\ntransport = 'tcp'", "cameras.a.url: Field required"),
        ("[cameras.a]\nurl = 'x'\ntransport = 'http'", "cameras.a.transport: 'http'"),
        ("[cameras.a]\nurl = 'x'\nread_timeout_s = 0", "cameras.a.read_timeout_s: 0"),
        ("[cameras.'a b']\nurl = 'x'", "cameras.a b"),
        ("[rooms.or-1]\ncameras = []", "rooms.or-1.cameras"),
        ("[rooms.or-1]\ncameras = ['a']", "rooms.or-1.cameras: 'a' is not one of []"),
        ("[inference]\nauto_confirm = 90", "inference.auto_confirm: 90: Input should be less than or equal to 1"),
        ("[inference]\nauto_confirm = nan", "inference.auto_confirm"),
        ("[inference]\nask_above = 0.95", "ask_above (0.95) must not be above auto_confirm (0.9)"),
        ("[inference]\nsample_fps = 1", "can never reach window_frames_min (3)"),
        ("[inference]\nsample_fps = 1\nwindow_s = 4", "gap_max_s (1.75) must be at least 2 / sample_fps = 2 s"),
        ("[model]\nlabels = ['a']", "model.labels"),
        ("[model]\ndevice = 'tpu'", "model.device: 'tpu'"),
        ("[surgery]\ntimezone = 'Mars/Base'", "'Mars/Base' is not an IANA time zone such as Asia/Shanghai"),
        ("[surgery]\ntimezone = '../etc'", "'../etc' is not an IANA time zone"),
        ("[surgery]\nstart_attempts = 0", "surgery.start_attempts: 0"),
        ("[logs]\nlevel = 'LOUD'", "logs.level: 'LOUD'"),
        ("server = 3", "server"),
        ("[server", "not valid TOML"),
        ("[model]\npath = '${NOWHERE}'", "model.path: the environment has no variable NOWHERE"),
        ("site_json = 'nowhere.json'", "nowhere.json cannot be read"),
    ],
)
def test_a_bad_key_or_value_is_named(configured: Configured, text: str, said: str) -> None:
    message = configured.refused(text)
    assert said in message
    assert str(configured.path.parent) in message


def test_several_faults_are_told_at_once(configured: Configured) -> None:
    message = configured.refused("[server]\nport = -1\n[logs]\nlevel = 'LOUD'\n[modle]\n")
    for key in ("server.port: -1", "logs.level: 'LOUD'", "modle: unknown key"):
        assert key in message


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file or directory"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load(tmp_path / "bad.toml")


def test_a_wrong_url_is_never_shown(configured: Configured) -> None:
    message = configured.refused("[cameras.a]\nurl = ['rtsp://ops:geheim@10.0.0.1']\n")
    assert "cameras.a.url" in message
    assert "geheim" not in message


@pytest.mark.parametrize(
    ("rooms", "said"),
    [
        ("[rooms.x]\ncameras = ['or-cam-01']", "'or-cam-01' already belongs to room 'or-1'"),
        ("[rooms.x]\ncameras = ['or-cam-02']\nvoice_terminal = 'vt-01'", "'vt-01' already serves room 'or-1'"),
    ],
)
def test_a_camera_and_a_terminal_have_one_room(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, rooms: str, said: str
) -> None:
    monkeypatch.setenv("CAM_PASSWORD", "x")
    assert said in configured.refused(SITE + rooms)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("ORWATCH_SERVER__PORT", "40000", lambda s: s.server.port == 40000),
        ("ORWATCH_INFERENCE__AUTO_CONFIRM", "0.8", lambda s: s.inference.auto_confirm == 0.8),
        ("ORWATCH_INFERENCE__BACKGROUND", '["x"]', lambda s: s.inference.background == ["x"]),
        ("ORWATCH_AUTH__MODE", "none", lambda s: s.auth.mode == "none"),
        (
            "ORWATCH_CAMERAS__CAM1__URL",
            "rtsp://h/x",
            lambda s: s.cameras["cam1"].url.get_secret_value() == "rtsp://h/x",
        ),
        ("ORWATCH_SERVER", '{"port": 40000}', lambda s: s.server.port == 40000),
    ],
)
def test_every_key_can_be_a_variable_and_the_variable_wins(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, name: str, value: str, found: "object"
) -> None:
    monkeypatch.setenv(name, value)
    settings = configured("[server]\nport = 1\nhost = 'localhost'\n[auth]\nmode = 'keys'\n")
    assert callable(found)
    assert found(settings)
    assert settings.server.host == "localhost"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ORWATCH_SEVER__PORT", "1", "ORWATCH_SEVER__PORT names no section of the configuration"),
        ("ORWATCH_SERVER__PROT", "1", "server.prot: unknown key"),
        ("ORWATCH_SERVER__PORT", "many", "server.port: 'many'"),
        ("ORWATCH_SERVER", "not json", "server"),
        ("ORWATCH_INFERENCE__BACKGROUND", "[not json", 'environment: error parsing value for field "inference"'),
    ],
)
def test_a_bad_variable_is_named(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    assert said in configured.refused("")


def test_a_systemd_credential_stands_between_variable_and_file(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "orwatch_server__port").write_text("40001\n")
    (credentials / "orwatch_cameras__cam1__url").write_text("rtsp://ops:geheim@h/x\n")
    (credentials / "another-service").write_text("not ours")
    (credentials / "orwatch_surgery").write_text('{"doctor_id": "OR"}')
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    settings = configured("[server]\nport = 1\n")
    assert settings.server.port == 40001
    assert settings.surgery.doctor_id == "OR"
    assert settings.cameras["cam1"].url.get_secret_value() == "rtsp://ops:geheim@h/x"
    monkeypatch.setenv("ORWATCH_SERVER__PORT", "40002")
    assert configured("").server.port == 40002


def test_a_credential_of_no_section_is_named(
    configured: Configured, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "orwatch_sever__port").write_text("1")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert "credential orwatch_sever__port names no section" in configured.refused("")


def site(folder: Path, content: object) -> None:
    (folder / "site.json").write_text(
        content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8"
    )


def test_the_site_file_of_earlier_installations(configured: Configured) -> None:
    site(
        configured.path.parent,
        {
            "video_rtsp_urls": {"or-cam-01": "rtsp://h/1", "or-cam-02": "rtsp://h/2"},
            "voice_or_room_bindings": [
                {"or_room_id": "OR-1", "voice_terminal_id": "vt-1", "camera_ids": ["or-cam-01", "or-cam-02"]},
            ],
            "something": "of theirs",
        },
    )
    settings = configured("site_json = 'site.json'\n[cameras.or-cam-02]\nurl = 'rtsp://h/ours'\n")
    assert settings.cameras["or-cam-01"].url.get_secret_value() == "rtsp://h/1"
    assert settings.cameras["or-cam-02"].url.get_secret_value() == "rtsp://h/ours"
    assert settings.room_of(frozenset({"or-cam-01"})) == "OR-1"
    assert settings.rooms["OR-1"].voice_terminal == "vt-1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "site.json is not valid JSON"),
        ({"video_rtsp_urls": ["x"]}, "video_rtsp_urls"),
        ({"voice_or_room_bindings": [{"camera_ids": []}]}, "voice_or_room_bindings.0.or_room_id"),
        ({"voice_or_room_bindings": [{"or_room_id": "1", "camera_ids": ["ghost"]}]}, "'ghost' is not one of []"),
    ],
)
def test_a_bad_site_file_is_named(configured: Configured, content: object, said: str) -> None:
    site(configured.path.parent, content)
    assert said in configured.refused("site_json = 'site.json'")


def test_no_key_is_needed_on_loopback_only(configured: Configured) -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.9"):
        assert load_keys(configured(f"[server]\nhost = '{host}'")) is None
    for host in ("0.0.0.0", "::", "10.0.0.5", "or-server"):
        with pytest.raises(ConfigError, match=r"reachable from outside.*auth\.keys_file"):
            load_keys(configured(f"[server]\nhost = '{host}'"))
        assert load_keys(configured(f"[server]\nhost = '{host}'\n[auth]\nmode = 'none'")) is None
