"""The fake Meta's files: what users send and businesses upload, with the life of ids and links. Pure.

Every method takes `now` in epoch seconds. Source: Meta, Cloud API, media: a link lives 5 minutes, a received file's id 7 days, an uploaded one's 30 days.
"""

import base64
import hashlib
import hmac
import random
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.simulator.errors import GraphError
from services.simulator.objections import unknown_object

DAY_S = 86_400
RECEIVED_LIFE_S = 7 * DAY_S
UPLOADED_LIFE_S = 30 * DAY_S
LINK_LIFE_S = 300
MIB = 1024 * 1024
LARGEST = 100 * MIB
_TYPES = {
    "audio/aac": 16, "audio/amr": 16, "audio/mp4": 16, "audio/mpeg": 16, "audio/ogg": 16, "audio/opus": 16,
    "application/msword": 100, "application/pdf": 100, "application/vnd.ms-excel": 100, "application/vnd.ms-powerpoint": 100,
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": 100,
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": 100,
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": 100,
    "image/jpeg": 5, "image/png": 5, "image/webp": 0.5, "text/plain": 100, "video/3gpp": 16, "video/mp4": 16,
}  # fmt: skip
"""What may be uploaded, and MiB at most."""


class UserFile(BaseModel):
    """Body of `POST /sim/users/{wa_id}/files`: a user sends a file, of the bytes given or of `size` random ones.

    What is told of it can be wrong (`told_sha256`, `told_bytes`), and the way to it slow or broken (`bytes_per_s`, `cut_after`).
    """

    model_config = ConfigDict(extra="forbid")

    to: str
    """The phone number id written to."""
    type: str = "image"
    mime_type: str = "image/jpeg"
    content: str | None = None
    """Base64."""
    size: int = Field(1000, ge=0, le=2 * LARGEST)
    seed: int = 0
    filename: str | None = None
    caption: str | None = None
    id: str | None = Field(None, max_length=128)
    """Of the message."""
    told_sha256: str | None = None
    told_bytes: int | None = None
    bytes_per_s: int | None = Field(None, ge=1)
    cut_after: int | None = Field(None, ge=0)
    """Bytes after which the connection is dropped, once."""

    def bytes(self) -> bytes:
        """The file; ValueError if `content` is not Base64."""
        if self.content is not None:
            return base64.b64decode(self.content, validate=True)
        return random.Random(self.seed).randbytes(self.size)


@dataclass(slots=True)
class File:
    """One file; `sha256` is hex."""

    id: str
    phone_number_id: str
    mime_type: str
    data: bytes
    expires_at: float
    sha256: str
    told_bytes: int
    bytes_per_s: int | None = None
    cut_after: int | None = None


@dataclass(slots=True)
class Files:
    """All files of a run; ids are numbers as Meta's are."""

    run_id: str
    _files: dict[str, File] = field(default_factory=dict)
    _made: int = 0
    """Files ever: no id comes again."""

    def clear(self) -> None:
        """Forget all."""
        self._files.clear()

    def upload(self, phone_number_id: str, mime_type: str, data: bytes, now: float) -> File | GraphError:
        """Take a business's file in, or say what Meta objects to."""
        most = _TYPES.get(mime_type.partition(";")[0].strip())
        if most is None:
            return GraphError(
                100,
                f"Param file must be a file with one of the following types: {', '.join(sorted(_TYPES))}. "
                f"Received file of type '{mime_type}'.",
            )
        if len(data) > most * MIB:
            return GraphError(
                131053, f"Media file size too big. Max file size we currently support: {most} MB."
            )
        return self._add(phone_number_id, mime_type, data, now + UPLOADED_LIFE_S)

    def receive(self, phone_number_id: str, given: UserFile, now: float) -> File:
        """Take a user's file in; ValueError if it is not Base64."""
        file = self._add(phone_number_id, given.mime_type, given.bytes(), now + RECEIVED_LIFE_S)
        file.sha256 = given.told_sha256 or file.sha256
        file.told_bytes = len(file.data) if given.told_bytes is None else given.told_bytes
        file.bytes_per_s, file.cut_after = given.bytes_per_s, given.cut_after
        return file

    def find(self, id: str, now: float, phone_number_id: str | None = None) -> File | None:
        """The file, while its id lives; None too if it is another number's than the one named."""
        file = self._files.get(id)
        if file is None or now >= file.expires_at or phone_number_id not in (None, file.phone_number_id):
            return None
        return file

    def knows(self, id: str) -> bool:
        """Whether the id is one of a file, living or not."""
        return id in self._files

    def delete(self, id: str, now: float, phone_number_id: str | None = None) -> GraphError | None:
        """Delete a file, or say what Meta objects to."""
        if self.find(id, now, phone_number_id) is None:
            return unknown_object(id)
        del self._files[id]
        return None

    def link(self, file: File, now: float) -> str:
        """Path and query under which the file can be fetched for 5 minutes."""
        until = int(now + LINK_LIFE_S)
        return (
            f"/whatsapp_business/attachments/?mid={file.id}&ext={until}&hash={self._signed(file.id, until)}"
        )

    def linked(self, id: str, until: str, signed: str, now: float) -> File | None:
        """The file that a link leads to; None for one that is stale, or was never given."""
        if (
            not until.isdigit()
            or now >= int(until)
            or not hmac.compare_digest(signed.encode(), self._signed(id, int(until)).encode())
        ):
            return None
        return self.find(id, now)

    def _signed(self, id: str, until: int) -> str:
        return hmac.digest(self.run_id.encode(), f"{id}:{until}".encode(), "sha256").hex()[:32]

    def _add(self, phone_number_id: str, mime_type: str, data: bytes, expires_at: float) -> File:
        id = str(10**15 + int(self.run_id, 16) % 10**9 * 10**6 + self._made)
        file = File(
            id, phone_number_id, mime_type, data, expires_at, hashlib.sha256(data).hexdigest(), len(data)
        )
        self._files[id] = file
        self._made += 1
        return file


def node(file: File, url: str) -> dict[str, Any]:
    """A file as the Graph API shows it."""
    return {
        "messaging_product": "whatsapp",
        "url": url,
        "mime_type": file.mime_type,
        "sha256": file.sha256,
        "file_size": file.told_bytes,
        "id": file.id,
    }


def content(given: UserFile, file: File, url: str) -> dict[str, Any]:
    """The object named as the message's type in a webhook: here the checksum is Base64."""
    told: dict[str, Any] = {
        "mime_type": file.mime_type,
        "sha256": _base64(file.sha256),
        "id": file.id,
        "url": url,
    }
    if given.filename is not None:
        told["filename"] = given.filename
    if given.caption is not None:
        told["caption"] = given.caption
    return told


def _base64(sha256: str) -> str:
    try:
        return base64.b64encode(bytes.fromhex(sha256)).decode()
    except ValueError:
        return sha256
