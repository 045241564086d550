"""Digest as the RFCs compute it, and the strongest of what a camera offers."""

import secrets

import pytest

from streams.rtsp.auth import Authorizer, Unanswerable, challenges, is_stale


@pytest.mark.parametrize(
    ("header", "password", "cnonce", "response"),
    [
        (  # RFC 2617, 3.5
            'Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093",'
            ' opaque="5ccc069c403ebaf9f0171e9517f40e41"',
            "Circle Of Life",
            "0a4f113b",
            "6629fae49393a05397450978507c4ef1",
        ),
        (  # RFC 7616, 3.9.1
            'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5,'
            ' nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"',
            "Circle of Life",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "8ca523f5e9506fed4657c9700eebdbec",
        ),
        (
            'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256,'
            ' nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"',
            "Circle of Life",
            "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        ),
    ],
)
def test_digest_answers_as_the_rfcs_do(
    header: str, password: str, cnonce: str, response: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _bytes: cnonce)
    authorizer = Authorizer("Mufasa", password)
    assert authorizer.header("GET", "/dir/index.html") is None
    authorizer.take(challenges([header]))

    answer = authorizer.header("GET", "/dir/index.html") or ""

    [given] = challenges([answer])
    assert given.parameters["response"] == response
    assert given.parameters["nc"] == "00000001"
    assert ("opaque" in given.parameters) == ("opaque" in header)


def test_several_challenges_are_read_from_one_header_or_from_many() -> None:
    one = ['Basic realm="a, \\"b\\"", Digest realm="c", nonce=n, qop="auth,auth-int",algorithm = "SHA-256", Negotiate']
    many = [
        'Basic realm="a, \\"b\\""',
        'Digest realm="c",nonce="n", qop="auth,auth-int", algorithm=SHA-256',
        "Negotiate",
    ]

    for values in (one, many):
        found = challenges(values)
        assert [each.scheme for each in found] == ["Basic", "Digest", "Negotiate"]
        assert found[0].parameters == {"realm": 'a, "b"'}
        assert found[1].parameters == {"realm": "c", "nonce": "n", "qop": "auth,auth-int", "algorithm": "SHA-256"}


def test_the_strongest_is_answered_whatever_the_order() -> None:
    offered = ['Basic realm="r"', 'Digest realm="r", nonce="1"', 'Digest realm="r", nonce="2", algorithm=SHA-256']

    for values in (offered, offered[::-1]):
        authorizer = Authorizer("u", "p")
        authorizer.take(challenges(values))
        assert "algorithm=SHA-256" in (authorizer.header("DESCRIBE", "rtsp://cam/1") or "")


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ('Digest realm="r", nonce="n", algorithm=SHA3-512', "Digest SHA3-512"),
        ('Digest realm="r", nonce="n", qop="token"', "Digest MD5 with qop token"),
        ("Negotiate", "Negotiate"),
        ("", "a password, but not how"),
    ],
)
def test_what_cannot_be_answered_is_named(header: str, named: str) -> None:
    with pytest.raises(Unanswerable, match=named):
        Authorizer("u", "p").take(challenges([header]))


def test_a_nonce_that_was_given_up_is_no_wrong_password() -> None:
    authorizer = Authorizer("u", "p")
    first = challenges(['Digest realm="r", nonce="1"'])
    authorizer.take(first)

    assert not authorizer.has_new_nonce(first)
    assert authorizer.has_new_nonce(challenges(['Digest realm="r", nonce="2"']))
    assert is_stale(challenges(['Digest realm="r", nonce="1", stale=TRUE']))
    assert not is_stale(first)


def test_the_next_nonce_that_a_camera_tells_is_used() -> None:
    authorizer = Authorizer("u", "p")
    authorizer.take(challenges(['Digest realm="r", nonce="1", qop="auth"']))
    authorizer.header("OPTIONS", "*")
    authorizer.told('nextnonce="2", qop=auth')

    answer = authorizer.header("OPTIONS", "*") or ""

    assert 'nonce="2"' in answer
    assert "nc=00000001" in answer


def test_a_quote_in_a_user_name_does_not_end_it() -> None:
    authorizer = Authorizer('a"b\\c', "p")
    authorizer.take(challenges(['Digest realm="r", nonce="1"']))

    [given] = challenges([authorizer.header("OPTIONS", "*") or ""])

    assert given.parameters["username"] == 'a"b\\c'


def test_a_header_is_read_so_far_as_a_challenge_may_be_long() -> None:
    [read] = challenges(['Digest realm="r", ' + " " * 5000 + 'nonce="n"'])

    assert read.parameters == {"realm": "r"}
