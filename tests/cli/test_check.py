"""`orwatch check` names everything that is wrong at once."""

import json
import socket
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np

from daemon.storage import migrate
from tests import oct as scans
from tests.cli.conftest import Done
from tests.inference.heads import NAMES, SOFTMAX, node, save
from tests.servers.certificates import certificate
from tests.servers.fundus import APP_ID, TOKEN, FundusServer
from tests.servers.kserve import GrpcServer, Rack
from tests.servers.pathology import USERNAME, PathologyServer
from tests.servers.ports import free_port
from tests.servers.s3 import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server

Call = Callable[..., Done]
Config = Callable[..., Path]


def states(done: Done) -> list[tuple[str, str]]:
    """(state, what) of each line of the table."""
    lines = [line.split() for line in done.out.splitlines()]
    return [(words[0], words[1]) for words in lines if words and words[0] in ("ok", "note", "problem")]


def says(done: Done, text: str) -> bool:
    """Whether it was said, however the table broke it into lines."""
    return "".join(text.split()) in "".join((done.out + done.err).split())


def test_a_site_that_is_ready(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_text("code,name\nHC1,纱布\nHC2,缝线\nHC3,止血钳\n", encoding="utf-8")
    more = (
        f'[server]\nport = {free_port()}\n[catalogue]\npath = "catalogue.csv"\n'
        f'[cameras.left]\nurl = "{clips / "left.mp4"}"\n[rooms.one]\ncameras = ["left"]\n'
    )

    done = call("check", "-c", config(more), "--connect")

    assert done.code == 0, done
    assert {state for state, _ in states(done)} == {"ok"}
    assert {"package", "onnxruntime", "cameras", "access", "model", "catalogue", "ledger", "logs", "port"} <= {
        what for _, what in states(done)
    }
    assert "h264 48x48" in done.out
    assert "no problem" in done.out
    assert {path.name for path in tmp_path.iterdir()} == {"catalogue.csv", "orwatch.toml"}, "nothing is made"


def test_all_problems_are_told_not_only_the_first(call: Call, config: Config, tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_text("price\n1\n")
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        more = (
            f'[server]\nport = {port}\n[catalogue]\npath = "catalogue.csv"\n[auth]\nkeys_file = "keys.toml"\n'
            '[database]\nledger = "file/ledger.db"\nurl = "postgresql+psycopg://o:secret@127.0.0.1:9/orwatch"\n'
            '[objects]\nbackend = "minio"\nendpoint = "127.0.0.1:9"\nsecure = false\nbucket = "orwatch"\n'
            'access_key = "a"\nsecret_key = "secret"\nspool = "file/spool"\n[logs]\nfolder = "file/log"\n'
            '[cameras.a]\nurl = "gone.mp4"\n[cameras.b]\nurl = "rtsp://127.0.0.1:9/1"\n'
        )

        done = call("check", "-c", config(more, model_path="gone.onnx"), "--connect")

    assert done.code == 1
    assert "secret" not in done.out + done.err
    problems = [what for state, what in states(done) if state == "problem"]
    wrong = [
        "access",
        "model",
        "catalogue",
        "ledger",
        "objects",
        "logs",
        "port",
        "archive",
        "objects",
        "camera",
        "camera",
    ]
    assert problems == wrong
    assert "11 problems" in done.out
    assert done.out.count("->") == 11, "each says how to mend it"


def test_a_broken_configuration_is_a_line_of_the_table(call: Call, config: Config) -> None:
    done = call("check", "-c", config("[server]\nprot = 1\n"))

    assert done.code == 1
    assert ("problem", "configuration") in states(done)
    assert "server.prot: unknown key" in done.out


def test_how_a_camera_with_tls_is_trusted_is_looked_at(call: Call, config: Config, tmp_path: Path) -> None:
    good = certificate(tmp_path, "camera.example", ends_in=timedelta(days=1))
    (tmp_path / "none.pem").write_text("no certificate")
    more = (
        f'[server]\nport = {free_port()}\n[cameras.a]\nurl = "rtsps://ops:secret@cam/1"\nverify_tls = false\n'
        '[cameras.b]\nurl = "rtsps://cam/1"\nca_file = "none.pem"\n'
        f'[cameras.c]\nurl = "rtsps://cam/1"\nca_file = "{good.file}"\ntransport = "udp"\n'
        f'[cameras.d]\nurl = "rtsp://cam/1"\ncertificate_sha256 = "{good.fingerprint}"\n'
        f'[cameras.e]\nurl = "rtsps://cam/1"\ncertificate_sha256 = "{good.fingerprint}"\n'
    )

    done = call("check", "-c", config(more))

    found = [line.split()[:3] for line in done.out.splitlines() if " camera " in line]
    assert found == [
        ["note", "camera", "a"],
        ["problem", "camera", "b"],
        ["note", "camera", "c"],
        ["note", "camera", "d"],
    ]
    assert "told to whoever answers" in done.out
    assert "is no PEM certificate" in done.out
    assert "read over TCP" in done.out


def test_a_password_that_can_be_read_in_two_ways_is_a_line_of_the_table(call: Call, config: Config) -> None:
    done = call("check", "-c", config('[cameras.a]\nurl = "rtsp://ops:12#34secret@cam.example/1"\n'))

    assert done.code == 1
    assert "cameras.a.url: (hidden)" in done.out
    assert "secret" not in done.out + done.err


def test_products_that_no_label_stands_for(call: Call, config: Config, tmp_path: Path) -> None:
    (tmp_path / "catalogue.csv").write_text("name\n纱布\n骨蜡\n", encoding="utf-8")

    done = call("check", "-c", config(f'[server]\nport = {free_port()}\n[catalogue]\npath = "catalogue.csv"\n'))

    assert "1 products that the model has no label for" in done.out
    assert "骨蜡" in done.out
    assert "2 labels without a product" in done.out


def test_how_pictures_reach_the_model_and_who_said_so(call: Call, config: Config, tmp_path: Path) -> None:
    path = save(tmp_path / "own.onnx", SOFTMAX)
    assert says(
        call("check", "-c", config(model_path=path)), "as Ultralytics trains, since its ONNX metadata has `names`"
    )

    file = path.with_suffix(".yaml")
    file.write_text("output: probabilities\n")
    done = call("check", "-c", config(model_path=path))
    assert ("note", "model") in states(done)
    assert says(done, f"from {file}; scale, mean, std by default")
    assert says(done, f"Say scale, or mean and std, in {file}")

    file.write_text("output: probabilities\nchannels: bgr\nmean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n")
    done = call("check", "-c", config(model_path=path))
    assert not says(done, "Say scale")
    assert says(done, "BGR nchw float32, (pixel x 0.003922 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)")


def test_a_model_that_would_book_a_covered_camera(call: Call, config: Config, tmp_path: Path) -> None:
    bias = np.zeros(9, np.float32)
    bias[0] = 9
    path = save(tmp_path / "sure.onnx", node("Add", also=[bias]), SOFTMAX, gain=1)

    done = call("check", "-c", config(model_path=path))

    assert says(done, "would book it: black for 纱布 (1.00), white for 纱布 (1.00), noise for 纱布 (1.00)")
    bias[0], bias[3] = 0, 9
    save(path, node("Add", also=[bias]), SOFTMAX, gain=1)
    assert not says(call("check", "-c", config(model_path=path)), "would book it")


def test_a_model_that_has_no_score_for_a_plain_picture(call: Call, config: Config, tmp_path: Path) -> None:
    even = node("InstanceNormalization", epsilon=0.0, also=[np.ones(3, np.float32), np.zeros(3, np.float32)])
    path = save(tmp_path / "even.onnx", SOFTMAX, begins=[even, node("Abs")])

    done = call("check", "-c", config(model_path=path))

    assert says(done, "gives no finite scores for a plain picture (black, blue, green, red, white)")


def test_a_model_that_hardly_tells_pictures_apart(call: Call, config: Config, tmp_path: Path) -> None:
    path = save(tmp_path / "flat.onnx", SOFTMAX, gain=0.1)

    done = call("check", "-c", config(model_path=path))

    assert says(done, "hardly tells pictures apart: of black, white, red,")
    assert says(done, "none scores above 0.12")


def test_a_model_that_cannot_see_is_a_problem_for_check_and_for_the_start(
    call: Call, config: Config, tmp_path: Path
) -> None:
    path = save(tmp_path / "twice.onnx", SOFTMAX)
    file = path.with_suffix(".yaml")
    file.write_text("output: logits\n")

    done = call("check", "-c", config(model_path=path))

    assert done.code == 1
    assert ("problem", "model") in states(done)
    assert says(done, "probabilities already")
    assert says(done, f"Set `output: probabilities` in {file}")
    for command in ("run", "check"):
        told = call(command, "-c", config(f"[server]\nport = {free_port()}\n", model_path=path))
        assert told.code == 1
        assert says(told, "probabilities already")


def test_a_model_of_which_all_is_background(call: Call, config: Config, tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", SOFTMAX)
    rules = f"[inference]\nbackground = {json.dumps(NAMES, ensure_ascii=False)}\n"

    done = call("check", "-c", config(model_path=path, rules=rules))

    assert ("problem", "model") in states(done)
    assert says(done, "all 9 labels are background; expected one at least that can be booked")


def test_a_ledger_of_another_schema(call: Call, config: Config, tmp_path: Path) -> None:
    import sqlite3

    ledger = tmp_path / "ledger.db"
    migrate.ensure(ledger)
    with sqlite3.connect(ledger) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    path = config('[database]\nledger = "ledger.db"\n')

    assert ("problem", "ledger") in states(call("check", "-c", path))
    assert call("db", "current", "-c", path).code == 1
    assert "newer orwatch" in call("db", "upgrade", "-c", path).err


def test_a_ledger_is_made_and_then_left_alone(call: Call, config: Config, tmp_path: Path) -> None:
    path = config('[database]\nledger = "new/ledger.db"\n')

    assert "no ledger yet" in call("db", "current", "-c", path).out
    assert "(none) ->" in call("db", "upgrade", "-c", path).out
    assert "nothing to do" in call("db", "upgrade", "-c", path).out
    assert migrate.current(tmp_path / "new" / "ledger.db") == migrate.head()


def test_the_imaging_back_ends_are_looked_at_and_asked(call: Call, config: Config, clips: Path, tmp_path: Path) -> None:
    with PathologyServer() as platform, FundusServer() as eyes:
        more = (
            f'[server]\nport = {free_port()}\n[cameras.left]\nurl = "{clips / "left.mp4"}"\n'
            f'[imaging.pathology]\nbase_url = "{platform.url}"\nusername = "{USERNAME}"\npassword = "wrong"\n'
            f'[imaging.fundus]\nbase_url = "{eyes.url}"\napp_id = "{APP_ID}"\ntoken = "{TOKEN}"\n'
        )

        done = call("check", "-c", config(more), "--connect")

        assert done.code == 1
        assert "病理平台拒绝了用户名或密码" in done.out
        assert "no organization" in done.out
        assert "credentials for ai_type 12" in done.out
        assert "takes our signature" in done.out
        assert not eyes.studies
        assert TOKEN not in done.out + done.err


def test_a_retina_server_its_buckets_and_its_webhook_are_looked_at_and_asked(
    call: Call, config: Config, clips: Path, tmp_path: Path
) -> None:
    with GrpcServer(Rack({"oct": scans.model(tmp_path / "oct.onnx")})) as triton, S3Server(tmp_path / "s3") as store:
        more = (
            f'[server]\nport = {free_port()}\n[cameras.left]\nurl = "{clips / "left.mp4"}"\n'
            f'[imaging.retina]\nserver_url = "{triton.url}"\nmodel_name = "oct"\nlabels = ["a", "b"]\n'
            f'bucket_store = "s3"\ns3_endpoint = "{store.endpoint}"\ns3_secure = false\n'
            f's3_access_key = "{ACCESS_KEY}"\ns3_secret_key = "{SECRET_KEY}"\n'
            f'input_bucket = "{BUCKET}"\noutput_bucket = "missing"\n'
        )

        done = call("check", "-c", config(more), "--connect")

        assert done.code == 1
        assert "no webhook: no request is taken" in done.out
        assert "the model is there and ready" in done.out
        assert f"S3: {BUCKET} is there" in done.out
        assert "没有存储桶 'missing'" in done.out
        assert SECRET_KEY not in done.out + done.err
        triton.rack.fault = "not_ready"
        assert ("problem", "retina") in states(call("check", "-c", config(more), "--connect"))


def test_ultrasound_models_are_loaded_and_tried(call: Call, config: Config, tmp_path: Path) -> None:
    missing = config('[imaging.ultrasound]\nmodel = "none.onnx"\n')

    assert ("problem", "ultrasound") in states(call("check", "-c", missing))
