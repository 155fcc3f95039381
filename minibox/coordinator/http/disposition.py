"""Content-Disposition (RFC 6266) and media types that are safe to send. Pure."""

import re
from typing import Literal
from urllib.parse import quote

_UNSAFE = re.compile(r'[^\x20-\x7e]|["\\%]')
_WORD = r"[!#$&^_.+0-9A-Za-z-]{1,127}"
_QUOTED = r'"[\x20\x21\x23-\x5b\x5d-\x7e]{0,127}"'
_MEDIA_TYPE = re.compile(rf"{_WORD}/{_WORD}(?:;[ \t]*[0-9A-Za-z-]{{1,64}}=(?:{_WORD}|{_QUOTED}))*")
OCTETS = "application/octet-stream"


def disposition(filename: str, kind: Literal["attachment", "inline"] = "attachment") -> bytes:
    """The header for a file of that name: an ASCII form for old clients, UTF-8 for the rest."""
    ascii_name = _UNSAFE.sub("_", filename)
    if ascii_name == filename:
        return f'{kind}; filename="{ascii_name}"'.encode()
    encoded = quote(filename, safe="!#$&+-.^_`|~", errors="replace")
    return f"{kind}; filename=\"{ascii_name}\"; filename*=UTF-8''{encoded}".encode()


def media_type(declared: str | None) -> str:
    """A media type as declared by whoever uploaded, or octets if it is none."""
    return declared if declared and _MEDIA_TYPE.fullmatch(declared) else OCTETS
