"""Stored form of an entry.

stamp    version and store time, 8 bytes each, big-endian; put before the rest by the store
format   1 byte
check    CRC-32 of the entry's key and all that follows; 4 bytes
encoding 1 byte: 0 the body as it is, 1 zstd
length   of the head; 4 bytes
head     `infermesh.cache.v1.Entry` without its body
body
"""

import asyncio
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import zstandard
from google.protobuf import duration_pb2
from google.protobuf.message import DecodeError

from infermesh.cache.v1 import cache_pb2
from infermesh_cache.domain.entry import Answer, Entry
from infermesh_cache.domain.keys import Slot
from infermesh_common.usage import usage_from_proto, usage_to_proto

FORMAT: Final = 1
"""Raise it with the layout: entries of another format count as misses."""
STAMP = struct.Struct(">QQ")
"""Version and store time in microseconds."""
_OPENING = struct.Struct(">BI")
_CONTENT = struct.Struct(">BI")
_PLAIN, _ZSTD = 0, 1
# The stamp is the store's and not under the check: what cannot be true is refused.
_HIGHEST_VERSION = 2**53
_LATEST_US = 253_402_300_799_999_999
# Less of a gain is not worth the time of every reader.
_LARGEST_SHARE = 0.9


class CorruptEntry(Exception):
    """What is stored is not an entry of this slot."""


class _Tools(threading.local):
    """zstd contexts, which threads must not share."""

    def __init__(self) -> None:
        self.compressor = zstandard.ZstdCompressor(level=3)
        self.decompressor = zstandard.ZstdDecompressor()


class EntryCodec:
    """Encodes and decodes entries; large ones in threads of its own.

    Args:
        compress_above_bytes: smaller bodies are not compressed.
        offload_above_bytes: larger ones are worked on off the event loop.
        threads: how many at once.
    """

    def __init__(
        self, *, compress_above_bytes: int, offload_above_bytes: int, threads: int
    ) -> None:
        self._compress_above_bytes = compress_above_bytes
        self._offload_above_bytes = offload_above_bytes
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="codec")
        self._tools = _Tools()

    def close(self) -> None:
        """Ends the threads."""
        self._executor.shutdown()

    async def encode(self, slot: Slot, answer: Answer, ttl_ms: int) -> bytes:
        """The stored form of `answer`, without its stamp."""
        if len(answer.body) <= self._offload_above_bytes:
            return self.encode_now(slot, answer, ttl_ms)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self.encode_now, slot, answer, ttl_ms)

    async def decode(self, slot: Slot, value: bytes) -> Entry:
        """The entry in `value`.

        Raises:
            CorruptEntry: it is not one, or that of another slot.
        """
        if len(value) <= self._offload_above_bytes:
            return self.decode_now(slot, value)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self.decode_now, slot, value)

    def encode_now(self, slot: Slot, answer: Answer, ttl_ms: int) -> bytes:
        """As `encode`, on this thread."""
        head = cache_pb2.Entry(
            model=answer.model,
            provider=answer.provider,
            usage=None if answer.usage is None else usage_to_proto(answer.usage),
            tags=answer.tags,
            ttl=_duration(ttl_ms),
        ).SerializeToString()
        encoding, body = _PLAIN, answer.body
        if len(body) > self._compress_above_bytes:
            compressed = self._tools.compressor.compress(body)
            if len(compressed) <= len(body) * _LARGEST_SHARE:
                encoding, body = _ZSTD, compressed
        content = b"".join((_CONTENT.pack(encoding, len(head)), head, body))
        return _OPENING.pack(FORMAT, _check(slot, content)) + content

    def decode_now(self, slot: Slot, value: bytes) -> Entry:
        """As `decode`, on this thread."""
        try:
            version, create_time_us = STAMP.unpack_from(value)
            format_, check = _OPENING.unpack_from(value, STAMP.size)
            content = memoryview(value)[STAMP.size + _OPENING.size :]
            if format_ != FORMAT or check != _check(slot, content):
                raise CorruptEntry("format or check")
            if not 0 < version < _HIGHEST_VERSION or create_time_us > _LATEST_US:
                raise CorruptEntry("stamp")
            encoding, head_bytes = _CONTENT.unpack_from(content)
            body_at = _CONTENT.size + head_bytes
            head = cache_pb2.Entry.FromString(bytes(content[_CONTENT.size : body_at]))
            body = bytes(content[body_at:])
            if encoding == _ZSTD:
                body = self._tools.decompressor.decompress(body)
            usage = usage_from_proto(head.usage) if head.HasField("usage") else None
        except (struct.error, DecodeError, zstandard.ZstdError, ValueError) as error:
            raise CorruptEntry(type(error).__name__) from error
        answer = Answer(body, head.model, head.provider, usage, tuple(head.tags))
        return Entry(answer, version, create_time_us, head.ttl.ToMilliseconds())


def _duration(milliseconds: int) -> duration_pb2.Duration:
    seconds, rest = divmod(milliseconds, 1000)
    return duration_pb2.Duration(seconds=seconds, nanos=rest * 1_000_000)


def _check(slot: Slot, content: bytes | memoryview) -> int:
    """Over the key too: an entry that got under another key is not an answer there."""
    return zlib.crc32(content, zlib.crc32(slot.entry_key.encode()))
