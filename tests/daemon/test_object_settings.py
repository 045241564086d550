"""`[objects]`: where evidence goes, how much of it, for how long; what cannot be meant is refused, secrets unseen."""

from pathlib import Path

import pytest

from daemon.config import ConfigError, Settings, load

KEYS = "access_key = 'the-user'\nsecret_key = 'geheim'\n"
MINIO = "backend = 'minio'\nendpoint = 's3.example:9000'\nbucket = 'orwatch'\n" + KEYS


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.delenv("ORWATCH_OBJECTS__SECRET_KEY", raising=False)


def configured(folder: Path, text: str) -> Settings:
    (folder / "orwatch.toml").write_text("[objects]\n" + text, encoding="utf-8")
    return load(folder / "orwatch.toml")


def refused(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refusal:
        configured(folder, text)
    message = str(refusal.value)
    assert "objects" in message
    assert "geheim" not in message
    return message


def test_by_default_evidence_is_kept_in_folders_beside_the_file_and_for_ever(tmp_path: Path) -> None:
    objects = configured(tmp_path, "").objects
    assert (objects.evidence, objects.backend) == (True, "folder")
    assert (objects.folder, objects.spool) == (tmp_path / "var/objects", tmp_path / "var/spool")
    assert (objects.retention_days, objects.retention_gib) == (None, None)
    assert objects.clip_before_s + objects.clip_after_s <= objects.ring_s


@pytest.mark.parametrize(
    ("key", "ends", "beyond"),
    [
        ("clip_before_s", (0, 5.9), (-0.1, 30.1)),
        ("clip_after_s", (0, 4.9), (-0.1, 30.1)),
        ("ring_s", (5, 60), (0.9, 60.1)),
        ("ring_mib", (1, 256), (0, 257)),
        ("spool_mib", (1, 1_048_576), (0, 1_048_577)),
        ("retention_days", (0.01, 36_500), (0, 36_501)),
        ("retention_gib", (0.01, 1_048_576), (0, 1_048_577)),
    ],
)
def test_a_number_is_taken_to_the_ends_of_its_range_and_no_further(
    tmp_path: Path, key: str, ends: tuple[float, float], beyond: tuple[float, float]
) -> None:
    for end in ends:
        assert getattr(configured(tmp_path, f"{key} = {end}").objects, key) == end
    for value in (*map(str, beyond), "nan", "'many'"):
        assert f"objects.{key}: {value}: " in refused(tmp_path, f"{key} = {value}")


def test_a_clip_fits_into_what_is_kept_in_memory(tmp_path: Path) -> None:
    objects = configured(tmp_path, "clip_before_s = 30\nclip_after_s = 30\nring_s = 60").objects
    assert objects.ring_s == 60
    message = refused(tmp_path, "clip_before_s = 6.5\nclip_after_s = 2\nring_s = 8")
    assert "clip_before_s + clip_after_s = 8.5 s must not be above ring_s (8)" in message
    assert "clip_before_s + clip_after_s = 5 s must not be above ring_s (4)" in refused(tmp_path, "ring_s = 4")


@pytest.mark.parametrize("missing", ["endpoint", "bucket", "access_key", "secret_key"])
@pytest.mark.parametrize("emptied", [False, True])
def test_an_s3_server_needs_its_address_its_bucket_and_both_keys(tmp_path: Path, missing: str, emptied: bool) -> None:
    configured(tmp_path, MINIO)
    lines = [line for line in MINIO.splitlines() if not line.startswith(missing)]
    message = refused(tmp_path, "\n".join([*lines, *([f"{missing} = ''"] if emptied else [])]))
    assert missing in message
    assert "geheim" not in repr(configured(tmp_path, MINIO))


def test_the_secret_key_can_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORWATCH_OBJECTS__SECRET_KEY", "geheim")
    secret = configured(tmp_path, MINIO.replace("secret_key = 'geheim'\n", "")).objects.secret_key
    assert secret is not None
    assert secret.get_secret_value() == "geheim"


@pytest.mark.parametrize("endpoint", ["s3.example", "s3.example:9000", "10.0.0.5:9000", "[::1]:9000", "minio"])
def test_an_endpoint_is_a_host_with_or_without_a_port(tmp_path: Path, endpoint: str) -> None:
    assert configured(tmp_path, MINIO.replace("s3.example:9000", endpoint)).objects.endpoint == endpoint


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://s3.example:9000",
        "https://the-user:geheim@s3.example",
        "the-user:geheim@s3.example:9000",
        "s3.example:9000/orwatch",
        "s3.example:9000/?password=geheim",
        "s3.example:",
        "s3.example:123456",
        "s3 example",
        "::1",
    ],
)
def test_an_endpoint_with_anything_else_is_refused_and_credentials_in_it_are_not_shown(
    tmp_path: Path, endpoint: str
) -> None:
    assert "objects.endpoint" in refused(tmp_path, MINIO.replace("s3.example:9000", endpoint))


@pytest.mark.parametrize("bucket", ["ab", "Orwatch", "-orwatch", "orwatch-", "or_watch", "or/watch", "o" * 64])
def test_a_bucket_has_a_name_that_s3_takes(tmp_path: Path, bucket: str) -> None:
    assert f"objects.bucket: '{bucket}'" in refused(tmp_path, MINIO.replace("'orwatch'", f"'{bucket}'"))


@pytest.mark.parametrize("text", ["backend = 's3'", "region = 'us east'", "evidence = 'maybe'", "retension_days = 3"])
def test_a_word_that_means_nothing_is_named(tmp_path: Path, text: str) -> None:
    assert f"objects.{text.split(maxsplit=1)[0]}" in refused(tmp_path, text)


@pytest.mark.parametrize("key", ["access_key", "secret_key"])
def test_a_key_of_the_wrong_kind_is_not_shown(tmp_path: Path, key: str) -> None:
    assert f"objects.{key}" in refused(tmp_path, f"{key} = ['geheim']")
    assert "4711" not in refused(tmp_path, f"{key} = 4711")
