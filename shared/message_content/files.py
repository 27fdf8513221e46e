"""Which files Meta takes for sending, and how large: a MIME type in, its kind and its limit out. Pure.

Source: Meta, Cloud API, supported media types; the list of types is that of Meta's own refusal (`Param file must be a file with one of the following types`).
Meta says MB; taken as MiB, so that what lies between is left to Meta.
"""

from typing import Final, Literal

Kind = Literal["image", "video", "audio", "document", "sticker"]

_MIB = 1024 * 1024
MAX_FILE: Final = 100 * _MIB
"""Bytes of any file, sent or received (Meta, Cloud API, supported media types; Meta, webhooks, error 131052)."""
MAX_FILE_BYTES: Final[dict[Kind, int]] = {
    "image": 5 * _MIB,
    "video": 16 * _MIB,
    "audio": 16 * _MIB,
    "document": MAX_FILE,
    "sticker": 500 * 1024,
}
"""Bytes of a file of each kind. A sticker's is that of an animated one; a static one has 100 KB, which shows only in the file itself."""
_OFFICE = "application/vnd.openxmlformats-officedocument"
FILE_KINDS: Final[dict[str, Kind]] = {
    **dict.fromkeys(("image/jpeg", "image/png"), "image"),
    "image/webp": "sticker",
    **dict.fromkeys(("video/mp4", "video/3gpp", "video/3gp"), "video"),
    **dict.fromkeys(
        ("audio/aac", "audio/amr", "audio/mp4", "audio/mpeg", "audio/ogg", "audio/opus"), "audio"
    ),
    **dict.fromkeys(
        (
            "text/plain",
            "application/pdf",
            "application/msword",
            "application/vnd.ms-excel",
            "application/vnd.ms-powerpoint",
            f"{_OFFICE}.wordprocessingml.document",
            f"{_OFFICE}.spreadsheetml.sheet",
            f"{_OFFICE}.presentationml.presentation",
        ),
        "document",
    ),
}


def kind_of(mime_type: str) -> Kind | None:
    """What a file of this type is sent as; None for a type that Meta does not take. Parameters (`; codecs=opus`) don't matter."""
    return FILE_KINDS.get(mime_type.partition(";")[0].strip().lower())
