"""Which files a message is said to bring; the shapes that Meta sends are among the webhook fixtures."""

from hypothesis import given
from hypothesis import strategies as st

from services.ingress.media.described import KINDS, NESTED, messenger_files, whatsapp_files


def test_an_edited_message_brings_the_file_that_it_has_now() -> None:
    content = {
        "original_message_id": "wamid.1",
        "message": {"type": "image", "image": {"id": "7", "mime_type": "image/jpeg", "caption": "better"}},
    }
    (file,) = whatsapp_files("106", "edit", content)
    assert (file.kind, file.id, file.path) == ("image", "7", "/v1/media/106/7")


def test_a_voice_message_of_older_webhooks_is_audio() -> None:
    (file,) = whatsapp_files("106", "voice", {"id": "7"})
    assert file.kind == "audio"


def test_an_id_that_could_lead_elsewhere_gets_no_path() -> None:
    for id in ("../7", "a/b", ".", "x?y", "ä", "7" * 201):
        (file,) = whatsapp_files("106", "image", {"id": id})
        assert (file.id, file.path) == (id, None)


def test_attachments_that_lead_to_a_page_are_no_files() -> None:
    attachments = [
        {"type": "image", "payload": {"url": "https://cdn.fbsbx.com/1"}},
        {"type": "fallback", "payload": {"url": "https://example.com"}},
        {"type": "location", "payload": {"coordinates": {}}},
        {"type": "file", "payload": {"url": "https://cdn.fbsbx.com/2"}},
    ]
    assert [(file.kind, file.id, file.path) for file in messenger_files(attachments)] == [
        ("image", None, None),
        ("file", None, None),
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda c: st.lists(c) | st.dictionaries(st.text(), c),
)
_NAMED = st.dictionaries(
    st.sampled_from(["id", "message", "type", "nfm_reply", "response_json", "image", "url", "payload"]), _JSON
)


@given(st.sampled_from((*KINDS, *NESTED, "text")), _JSON | _NAMED)
def test_whatever_stands_in_the_place_of_a_file_harms_nobody(type: str, content: object) -> None:
    whatsapp_files("106", type, content)
    messenger_files(content)
    messenger_files([content])
