"""From when to when a certificate holds, without a library for it.

Only as much of DER as it takes to get to `validity` of a TBSCertificate (RFC 5280, 4.1).
"""

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import NamedTuple

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)
_INTEGER, _SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x02, 0x30, 0x17, 0x18, 0xA0


class Validity(NamedTuple):
    """The two times, in UTC."""

    not_before: datetime
    not_after: datetime


class _Element(NamedTuple):
    tag: int
    content: bytes


def validities(pem: str) -> list[Validity]:
    """Of every certificate in a PEM file.

    Raises:
        ValueError: it holds none, or one that cannot be read.
    """
    blocks = _PEM.findall(pem)
    if not blocks:
        raise ValueError("no certificate")
    return [_validity(block) for block in blocks]


def _validity(block: str) -> Validity:
    try:
        der = base64.b64decode("".join(block.split()), validate=True)
        (certificate,) = _elements(der)
        fields = list(_elements(next(_elements(certificate.content)).content))
        if fields[0].tag == _VERSION:
            del fields[0]
        # serialNumber, signature, issuer, validity
        if [f.tag for f in fields[:4]] != [_INTEGER, _SEQUENCE, _SEQUENCE, _SEQUENCE]:
            raise ValueError("not a certificate")
        begin, end = _elements(fields[3].content)
        return Validity(_moment(begin), _moment(end))
    except (binascii.Error, IndexError, StopIteration) as error:
        raise ValueError("not a certificate") from error


def _elements(der: bytes) -> Iterator[_Element]:
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & 0x80:
            size = length & 0x7F
            length = int.from_bytes(der[at : at + size], "big")
            at += size
        if at + length > len(der):
            raise IndexError("cut short")
        yield _Element(tag, der[at : at + length])
        at += length


def _moment(element: _Element) -> datetime:
    text = element.content.decode("ascii")
    if element.tag == _UTC_TIME:
        # Two digits of the year: 50 and above are 19xx.
        text = ("19" if text[:2] >= "50" else "20") + text
    elif element.tag != _GENERALIZED_TIME:
        raise ValueError("not a time")
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
