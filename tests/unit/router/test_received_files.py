"""What the business is told of the files that a message brings."""

import msgspec

from shared.events import ReceivedMedia, ReceivedMessage
from shared.topics import MESSAGES_RECEIVED
from tests.unit.router.make import KEY, NOW, received, world


def test_a_files_description_is_passed_on_as_ingress_made_it() -> None:
    file = ReceivedMedia(kind="image", id="7", mime_type="image/jpeg", sha256="ab", path="/v1/media/N1/7")
    out = world().play(KEY, received(type="image", media=[file]), NOW)
    [told] = [msgspec.json.decode(o.value, type=ReceivedMessage) for o in out if o.topic is MESSAGES_RECEIVED]
    assert told.media == [file]
