"""A camera is logged in to as it asks, and told nothing that it need not know."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from streams import StreamMoved, StreamUnauthorized, StreamUntrusted
from tests import rules
from tests.servers.certificates import Certificate, certificate
from tests.servers.odd_camera import BASIC, Manners, OddCamera, Reply, Request, digest
from tests.servers.rtp_payloads import RtpClip
from tests.streams.reading import Reader

USER = {"user": "ops", "password": 'p@s s#/?:%41"密'}
WRONG_ONCE = ("OPTIONS", "DESCRIBE", "DESCRIBE")


@pytest.mark.parametrize("algorithm", [None, "MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256"])
@pytest.mark.parametrize("qop", [None, "auth", "auth-int,auth", "auth-int"])
def test_every_digest_is_answered(clip: RtpClip, algorithm: str | None, qop: str | None) -> None:
    with OddCamera(clip, Manners(**USER, challenges=(digest(algorithm, qop=qop),))) as camera:
        with Reader(url=camera.url) as reader:
            reader.wait_for(1)
        assert camera.methods[:3] == list(WRONG_ONCE)


@pytest.mark.parametrize("one_header", [False, True])
def test_the_strongest_challenge_is_answered_whatever_the_order(clip: RtpClip, one_header: bool) -> None:
    offered = (BASIC, digest("MD5"), digest("SHA-256"))
    for challenges in (offered, offered[::-1]):
        with OddCamera(clip, Manners(**USER, challenges=challenges, one_header=one_header)) as camera:
            with Reader(url=camera.url) as reader:
                reader.wait_for(1)
            assert camera.told
            assert all("algorithm=SHA-256" in each for each in camera.told)


def test_basic_is_answered_where_the_camera_knows_nothing_else(clip: RtpClip) -> None:
    with OddCamera(clip, Manners(**USER, challenges=(BASIC,))) as camera, Reader(url=camera.url) as reader:
        reader.wait_for(1)


def test_a_wrong_password_is_told_once_and_no_more(clip: RtpClip) -> None:
    for challenge in (digest("MD5"), digest("SHA-256"), BASIC):
        with OddCamera(clip, Manners(**USER, challenges=(challenge,))) as camera:
            wrong = camera.plain_url.replace("://", "://ops:wrong@")
            with Reader(url=wrong) as reader:
                error = reader.wait_for_end()
            assert isinstance(error, StreamUnauthorized)
            assert len(camera.told) == 1, "a few wrong passwords lock an account"


def test_a_wrong_password_is_told_once_to_a_camera_with_a_new_nonce_each_time(clip: RtpClip) -> None:
    with OddCamera(clip, Manners(**USER, challenges=(digest("MD5"),), nonce_lasts_s=0.0)) as camera:
        with Reader(url=camera.url) as reader:
            assert isinstance(reader.wait_for_end(), StreamUnauthorized)
        assert len(camera.told) == 1


@pytest.mark.parametrize(
    ("challenge", "named"),
    [(digest("SHA3-512"), "Digest SHA3-512"), ("Negotiate", "Negotiate"), (digest("MD5", qop="x"), "qop x")],
)
def test_what_cannot_be_answered_is_named(clip: RtpClip, challenge: str, named: str) -> None:
    with OddCamera(clip, Manners(**USER, challenges=(challenge,))) as camera:
        with Reader(url=camera.url) as reader:
            error = reader.wait_for_end()
        assert isinstance(error, StreamUnauthorized)
        assert named in str(error)
        assert camera.told == []


def test_a_stale_nonce_is_answered_with_the_new_one(clip: RtpClip) -> None:
    stale: list[Request] = []

    def once(request: Request) -> Reply | None:
        if "authorization" not in request.headers or stale:
            return None
        stale.append(request)
        return Reply(401, "Unauthorized", ('WWW-Authenticate: Digest realm="cam", nonce="late", stale=TRUE',))

    manners = Manners(**USER, challenges=(digest("MD5"),), answers={"DESCRIBE": once})
    with OddCamera(clip, manners) as camera:
        manners.challenges = (digest("MD5"), digest("SHA-256"))
        manners.answers["SETUP"] = lambda request: (
            Reply(401, "Unauthorized", (f"WWW-Authenticate: {digest('MD5') % camera.nonce()}",))
            if 'nonce="late"' in request.headers["authorization"]
            else None
        )
        manners.answers["DESCRIBE"] = lambda request: (
            once(request) or (Reply(200, "OK", ("Content-Type: application/sdp",), camera.sdp()) if stale else None)
        )
        with Reader(url=camera.url) as reader:
            reader.wait_for(1)
        assert len(stale) == 1


def test_a_camera_that_hangs_up_with_its_challenge_is_asked_again(clip: RtpClip) -> None:
    with OddCamera(clip, Manners(**USER, challenges=(digest("MD5"),), closes_after_401=True)) as camera:
        with Reader(url=camera.url) as reader:
            reader.wait_for(1)
        assert {request.connection for request in camera.requests} == {1, 2}


def test_a_url_without_a_user_is_told_to_have_one(clip: RtpClip) -> None:
    with OddCamera(clip, Manners(challenges=(digest("MD5"),))) as camera, Reader(url=camera.url) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamUnauthorized)
    assert "the url has none" in str(error)


@pytest.mark.parametrize("raw", ["pa#ss", "a/b?c", "p@ss"])
def test_a_raw_password_is_understood_where_it_is_clear(clip: RtpClip, raw: str) -> None:
    with (
        OddCamera(clip, Manners(user="ops", password=raw, challenges=(digest("MD5"),))) as camera,
        Reader(url=camera.plain_url.replace("://", f"://ops:{raw}@")) as reader,
    ):
        reader.wait_for(1)


def test_a_password_that_is_encoded_twice_is_hinted_at(clip: RtpClip) -> None:
    with (
        OddCamera(clip, Manners(user="ops", password="p@ss", challenges=(digest("MD5"),))) as camera,
        Reader(url=camera.plain_url.replace("://", "://ops:p%2540ss@")) as reader,
    ):
        error = reader.wait_for_end()
    assert isinstance(error, StreamUnauthorized)
    assert "is not to be encoded" in str(error)
    assert "p%40ss" not in str(error)


# --- redirects ---


def test_a_redirect_to_another_host_is_not_followed(clip: RtpClip) -> None:
    with OddCamera(clip, Manners(challenges=(BASIC,))) as other:
        there = f"rtsp://localhost:{other.port}/stream?token=secret"
        answer = Reply(302, "Moved", (f"Location: {there}",))
        for manners in (Manners(**USER, answers={"DESCRIBE": answer}), Manners(answers={"OPTIONS": answer})):
            with OddCamera(clip, manners) as camera, Reader(url=camera.url) as reader:
                error = reader.wait_for_end()
            assert isinstance(error, StreamMoved)
            assert f"rtsp://localhost:{other.port}/stream?token=***" in str(error)
        assert other.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 305, 307])
def test_a_redirect_on_the_same_host_is_followed_with_the_password(clip: RtpClip, status: int) -> None:
    with OddCamera(clip, Manners(**USER, challenges=(digest("SHA-256"),), path="/moved")) as other:
        moved = Reply(status, "Moved", (f"Location: {other.plain_url}",))
        with OddCamera(clip, Manners(**USER, answers={"DESCRIBE": moved})) as camera, Reader(url=camera.url) as reader:
            reader.wait_for(1)
        assert camera.methods == ["OPTIONS", "DESCRIBE"]


def test_a_redirect_to_a_path_alone_stays_where_it_is(clip: RtpClip) -> None:
    def moved(request: Request) -> Reply | None:
        return None if request.url.endswith("/new") else Reply(301, "Moved", ("Location: /new",))

    with OddCamera(clip, Manners(answers={"DESCRIBE": moved})) as camera, Reader(url=camera.url) as reader:
        reader.wait_for(1)


def test_redirects_without_an_end_are_left(clip: RtpClip) -> None:
    manners = Manners(answers={"DESCRIBE": lambda request: Reply(302, "Moved", (f"Location: {request.url}",))})
    with OddCamera(clip, manners) as camera, Reader(url=camera.url) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamMoved)
    assert "more than 3 times" in str(error)


def test_an_address_that_a_camera_names_moves_neither_the_connection_nor_the_password(clip: RtpClip) -> None:
    with OddCamera(clip, Manners()) as other:
        manners = Manners(
            **USER,
            challenges=(BASIC,),
            content_base=f"rtsp://localhost:{other.port}/base/",
            controls=(f"rtsp://localhost:{other.port}/base/trackID=1", "b"),
        )
        with OddCamera(clip, manners) as camera, Reader(url=camera.url) as reader:
            reader.wait_for(1)
        assert other.requests == []


# --- TLS ---


def of_this_machine(folder: Path, *, ends_in: timedelta = timedelta(days=1)) -> Certificate:
    return certificate(folder, "camera.example", address="127.0.0.1", ends_in=ends_in)


def test_the_certificate_of_a_camera_is_verified_before_anything_is_told(clip: RtpClip, tmp_path: Path) -> None:
    strange = certificate(tmp_path, "somebody.example", ends_in=timedelta(days=1))
    good = of_this_machine(tmp_path)
    with OddCamera(clip, Manners(**USER, challenges=(BASIC,), tls=strange.server())) as camera:
        for trust, why in [
            (rules.trust(), "signed by nobody but itself"),
            (rules.trust(ca_file=good.file), "signed by nobody"),
            (rules.trust(ca_file=strange.file), "for another name than 127.0.0.1"),
            (rules.trust(certificate_sha256=good.fingerprint), "another than certificate_sha256"),
            (rules.trust(ca_file=tmp_path / "none.pem"), "No such file"),
            (rules.trust(ca_file=strange.key), "is no PEM certificate"),
        ]:
            with Reader(url=camera.url, trust=trust) as reader:
                error = reader.wait_for_end()
            assert isinstance(error, StreamUntrusted)
            assert why in str(error)
        assert camera.requests == []


def test_a_camera_with_tls_is_read_by_whichever_trust_is_set(clip: RtpClip, tmp_path: Path) -> None:
    good = of_this_machine(tmp_path)
    with OddCamera(clip, Manners(**USER, challenges=(BASIC,), tls=good.server())) as camera:
        for trust in (
            rules.trust(ca_file=good.file),
            rules.trust(certificate_sha256=good.fingerprint),
            rules.trust(certificate_sha256=good.fingerprint.replace(":", "").lower()),
            rules.trust(verify=False),
        ):
            with Reader(url=camera.url, trust=trust, transport="udp") as reader:
                reader.wait_for(3)
        assert {request.headers.get("transport", "")[:11] for request in camera.requests} == {"", "RTP/AVP/TCP"}


def test_a_certificate_that_has_expired_is_named_so(clip: RtpClip, tmp_path: Path) -> None:
    old = of_this_machine(tmp_path, ends_in=timedelta(days=-1))
    with (
        OddCamera(clip, Manners(tls=old.server())) as camera,
        Reader(url=camera.url, trust=rules.trust(ca_file=old.file)) as reader,
    ):
        error = reader.wait_for_end()
    assert isinstance(error, StreamUntrusted)
    assert "has expired" in str(error)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_camera_with_old_tls_alone_is_named_so(clip: RtpClip, tmp_path: Path) -> None:
    context = of_this_machine(tmp_path).server()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with OddCamera(clip, Manners(tls=context)) as camera, Reader(url=camera.url) as reader:
        error = reader.wait_for_end()
    assert isinstance(error, StreamUntrusted)
    assert "only TLS 1.0 or 1.1" in str(error)


def test_a_redirect_from_tls_to_none_is_not_followed(clip: RtpClip, tmp_path: Path) -> None:
    good = of_this_machine(tmp_path)
    with OddCamera(clip, Manners()) as plain:
        moved = Reply(302, "Moved", (f"Location: {plain.url}",))
        with (
            OddCamera(clip, Manners(**USER, tls=good.server(), answers={"DESCRIBE": moved})) as camera,
            Reader(url=camera.url, trust=rules.trust(ca_file=good.file)) as reader,
        ):
            error = reader.wait_for_end()
        assert isinstance(error, StreamMoved)
        assert "not encrypted" in str(error)
        assert plain.requests == []
