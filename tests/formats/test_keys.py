"""Keys: one spelling, sound points, and secrets that stay out of messages."""

from __future__ import annotations

import hashlib
import traceback

import pytest

from aar.formats.errors import MalformedKey
from aar.formats.keys import (
    COSIGNATURE,
    ED25519,
    Signer,
    VerifierKey,
    check_public_key,
    format_skey,
    format_vkey,
    is_valid_signature,
    parse_skey,
    parse_vkey,
)
from aar.formats.strict import encode_base64

LOG = Signer("log.example/1", bytes(range(32)))
WITNESS = Signer("witness-local", bytes(range(32, 64)), COSIGNATURE)
LOG_VKEY = "log.example/1+7d721d33+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
LOG_SKEY = "PRIVATE+KEY+log.example/1+7d721d33+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
WITNESS_VKEY = "witness-local+b2cd21cc+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X"

# The orders 1, 2, 4 and 8, then the prime p (a second spelling of 0) and p + 1 (of 1).
UNSOUND_POINTS = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0200000000000000000000000000000000000000000000000000000000000000",
]


def test_the_golden_keys_are_written_and_read():
    assert format_vkey(LOG.vkey) == LOG_VKEY
    assert parse_vkey(LOG_VKEY) == LOG.vkey
    assert format_skey(LOG) == LOG_SKEY
    assert parse_skey(LOG_SKEY) == LOG
    assert format_vkey(WITNESS.vkey) == WITNESS_VKEY
    assert parse_vkey(WITNESS_VKEY) == WITNESS.vkey
    assert parse_skey(format_skey(WITNESS)) == WITNESS


def test_a_key_id_is_the_hash_that_the_specification_says():
    digest = hashlib.sha256(b"log.example/1\n\x01" + LOG.vkey.public_key).digest()
    assert LOG.vkey.key_id == digest[:4] == bytes.fromhex("7d721d33")


def test_the_first_vector_of_rfc_8032_holds():
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    signature = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b"
    )
    signer = Signer("rfc8032", seed)
    assert signer.vkey.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert signer.sign("").signature == signature
    assert is_valid_signature(signer.vkey.public_key, b"", signature)
    assert not is_valid_signature(signer.vkey.public_key, b"x", signature)


def test_a_signature_or_key_of_another_length_is_not_valid():
    signature = LOG.sign("a\n").signature
    assert is_valid_signature(LOG.vkey.public_key, b"a\n", signature)
    # Cut in two elsewhere, the same bytes must not pass.
    assert not is_valid_signature(LOG.vkey.public_key, b"\n", signature + b"a")
    assert not is_valid_signature(LOG.vkey.public_key, signature[63:] + b"a\n", signature[:63])
    assert not is_valid_signature(LOG.vkey.public_key[:31], b"a\n", signature)


@pytest.mark.parametrize("point", UNSOUND_POINTS)
def test_an_unsound_point_is_not_a_key(point: str):
    key = VerifierKey("x", ED25519, bytes.fromhex(point))
    with pytest.raises(MalformedKey, match="not a canonical point of large order"):
        parse_vkey(format_vkey(key))


def test_a_public_key_has_32_bytes():
    check_public_key(LOG.vkey.public_key)
    with pytest.raises(MalformedKey, match="public key of 31 bytes, want 32"):
        check_public_key(LOG.vkey.public_key[:31])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", r"want NAME\+KEYID\+BASE64"),
        ("log.example/1+7d721d33", r"want NAME\+KEYID\+BASE64"),
        ("+7d721d33+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4", "want no space"),
        (LOG_VKEY.replace("log", "l g"), "want no space"),
        (LOG_VKEY.replace("log", "l\ud800g"), "want no space"),
        (LOG_VKEY + "=", "base64"),
        (LOG_VKEY[:-4], "want a type of 1 or 4 and 32 bytes"),
        (LOG_VKEY + "AAAA", "want a type of 1 or 4 and 32 bytes"),
        (LOG_VKEY.replace("+AQ", "+Ag"), "want a type of 1 or 4 and 32 bytes"),
        ("x+00000000+", "want a type of 1 or 4 and 32 bytes"),
        (LOG_VKEY.replace("7d721d33", "7d721d34"), "key id '7d721d34', want 7d721d33"),
        (LOG_VKEY.replace("7d721d33", "7D721D33"), "key id '7D721D33', want 7d721d33"),
        (LOG_VKEY.replace("log", "lag"), "key id '7d721d33', want"),
        (LOG_VKEY + "\n", "base64"),
    ],
)
def test_a_malformed_verifier_key_is_refused(text: str, why: str):
    with pytest.raises(MalformedKey, match=why):
        parse_vkey(text)


@pytest.mark.parametrize("cut", range(len(LOG_VKEY)))
def test_a_cut_verifier_key_is_refused(cut: int):
    with pytest.raises(MalformedKey):
        parse_vkey(LOG_VKEY[:cut])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a private key"),
        (LOG_VKEY, "not a private key"),
        (LOG_SKEY.replace("PRIVATE", "private"), "not a private key"),
        (LOG_SKEY.replace("log", "l g"), "its name or base64 is malformed"),
        (LOG_SKEY + "=", "its name or base64 is malformed"),
        (LOG_SKEY[:-4], "want a type of 1 or 4 and 32 bytes"),
        (LOG_SKEY.replace("+AQAB", "+AgAB"), "want a type of 1 or 4 and 32 bytes"),
        (LOG_SKEY.replace("7d721d33", "7d721d34"), "the key id is not its own"),
    ],
)
def test_a_malformed_private_key_is_refused_and_not_repeated(text: str, why: str):
    with pytest.raises(MalformedKey, match=why) as caught:
        parse_skey(text)
    shown = "".join(traceback.format_exception(caught.value))
    assert "AQABAgME" not in shown.replace(text, "")
    assert encode_base64(LOG.seed)[:12] not in str(caught.value)


def test_a_malformed_private_key_is_not_shown_by_the_traceback():
    with pytest.raises(MalformedKey) as caught:
        parse_skey(LOG_SKEY + "=")
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_a_signer_does_not_show_its_seed():
    assert repr(LOG) == "Signer(name='log.example/1', algorithm=1)"


def test_a_cosignature_key_signs_no_plain_text():
    with pytest.raises(MalformedKey, match="witness-local is a cosignature key"):
        WITNESS.sign("a\n")


def test_a_plain_key_does_not_cosign():
    with pytest.raises(MalformedKey, match="log.example/1 is not a cosignature key"):
        LOG.cosign("a\n", 1)


def test_a_cosignature_is_over_the_time_and_the_text():
    signature = WITNESS.cosign("a\n", 1_700_000_000).signature
    assert int.from_bytes(signature[:8], "big") == 1_700_000_000
    message = b"cosignature/v1\ntime 1700000000\na\n"
    assert is_valid_signature(WITNESS.vkey.public_key, message, signature[8:])
    assert WITNESS.vkey.vouches_for("a\n", signature)
    later = (1_700_000_001).to_bytes(8, "big") + signature[8:]
    assert not WITNESS.vkey.vouches_for("a\n", later)
