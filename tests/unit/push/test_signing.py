"""Signatures as receivers verify them: by the specification's own vector, and by the package that it ships."""

import base64
import json
import time

import pytest
from standardwebhooks.webhooks import Webhook

from services.push.signing import BadSecret, key_of, meta_headers, standard_headers, webhook_id

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER = "whsec_" + base64.b64encode(b"another secret of 24 bytes").decode()


def test_the_vector_of_the_reference_libraries_is_signed_as_they_sign_it() -> None:
    headers = standard_headers(
        [key_of(SECRET)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("secret", [SECRET, OTHER])
def test_while_a_secret_is_rotated_receivers_verify_with_either(secret: str) -> None:
    body = '{"type":"send.delivered","data":{"text":"Grüße"}}'.encode()
    keys = [key_of(SECRET), key_of(OTHER)]
    headers = standard_headers(keys, webhook_id("wamid.X:delivered"), int(time.time()), body)
    assert Webhook(secret).verify(body, headers) == json.loads(body)


def test_the_id_holds_no_full_stop_and_nothing_that_a_header_may_not_hold() -> None:
    assert webhook_id("4711-shipped#1:decided") == "4711-shipped#1:decided"
    assert webhook_id("wamid.HBg=:read") == "wamid%2EHBg=:read"
    assert webhook_id("ü\r\nx: y") == "%C3%BC%0D%0Ax:%20y"


@pytest.mark.parametrize(
    ("secret", "why"),
    [
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "does not begin with whsec_"),
        ("whsec_***", "is not base64"),
        ("whsec_c2hvcnQ=", "holds 5 bytes"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "holds 65 bytes"),
    ],
)
def test_a_secret_that_is_none_is_refused_without_showing_it(secret: str, why: str) -> None:
    with pytest.raises(BadSecret, match=why) as refused:
        key_of(secret)
    assert secret.removeprefix("whsec_") not in str(refused.value)


def test_meta_s_signature_is_over_the_bytes_as_sent() -> None:
    headers = meta_headers(b"app-secret", "wamid:1", b'{"object":"page"}')
    assert headers["X-Hub-Signature-256"] == (
        "sha256=ae958d6f00b134dd32b95a9a76bedaaeb068c0949769358355023f7d1a0c580b"
    )
