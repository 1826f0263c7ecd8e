"""Random access to TFRecord files without TensorFlow: an index of offsets, built in one pass.

A file is a sequence of (length: uint64, masked CRC32C of the length: uint32, bytes, masked CRC32C of the bytes:
uint32), all little-endian. The pass follows the lengths and checks every length's checksum, so that a truncated file
or one that is no TFRecord is refused before training starts; the bytes' checksum is checked on reading.

Reference: TensorFlow, "TFRecord and tf.train.Example", section "TFRecords format details".
"""

import mmap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from cvdl_jax.errors import DataError

_HEADER, _FOOTER = 12, 4
_POLYNOMIAL = 0x82F63B78  # CRC32C (Castagnoli), bits reversed
_BLOCK = 64  # bytes of one block of the vectorised checksum


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


def _feed(crc: np.ndarray, byte: np.ndarray | int) -> np.ndarray:
    """The states after one more byte each."""
    return _table()[(crc ^ byte) & 0xFF] ^ (crc >> np.uint32(8))


def _skip(crc: np.ndarray, operator: np.ndarray) -> np.ndarray:
    """Applies a linear operator on states, given by its values on each of the four bytes: uint32 [4, 256]."""
    parts = [operator[k][(crc >> np.uint32(8 * k)) & 0xFF] for k in range(4)]
    return parts[0] ^ parts[1] ^ parts[2] ^ parts[3]


@lru_cache(maxsize=64)
def _zeros_operator(level: int) -> np.ndarray:
    """The operator that feeds `_BLOCK * 2**level` zero bytes: uint32 [4, 256]."""
    if level:
        half = _zeros_operator(level - 1)
        return _skip(half, half)
    states = np.arange(256, dtype=np.uint32) << np.uint32([[0], [8], [16], [24]])  # [4, 256]
    for _ in range(_BLOCK):
        states = _feed(states, 0)
    return states


def masked_crc32c(records: Sequence[bytes]) -> np.ndarray:
    """The masked CRC32C of several byte strings at once.

    A CRC without its first inversion is linear and ignores leading zeros. So each record is padded in front to blocks
    of equal size, all blocks are summed side by side, and neighbours are joined in a tree.

    Args:
        records: n byte strings of at least four bytes (shorter ones are summed alone).

    Returns:
        uint32 [n]: `rotate_right(crc, 15) + 0xa282ead8`.
    """
    blocks = 1 << (max(-(-max(len(r) for r in records) // _BLOCK), 1) - 1).bit_length()
    rows = np.zeros((len(records), blocks * _BLOCK), np.uint8)
    for row, record in zip(rows, records, strict=True):
        if len(record) >= 4:
            row[len(row) - len(record) :] = np.frombuffer(record, np.uint8)
            row[len(row) - len(record) :][:4] ^= 0xFF  # the first inversion
    rows = rows.reshape(len(records), blocks, _BLOCK)  # [n, blocks, 64]
    crc = np.zeros(rows.shape[:2], np.uint32)
    for k in range(_BLOCK):
        crc = _feed(crc, rows[..., k])
    level = 0
    while crc.shape[1] > 1:
        crc = _skip(crc[:, 0::2], _zeros_operator(level)) ^ crc[:, 1::2]
        level += 1
    crc = ~crc[:, 0]
    for i, record in enumerate(records):
        if len(record) < 4:
            state = np.uint32(0xFFFFFFFF)
            for byte in record:
                state = _feed(state, byte)
            crc[i] = ~state
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


class TFRecordFile(Sequence):
    """One TFRecord file as a sequence of bytes objects.

    Raises:
        DataError: on opening, if the file is truncated, damaged or no TFRecord.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        size = self.path.stat().st_size
        self._starts = np.zeros(0, np.int64)
        self._lengths = np.zeros(0, np.int64)
        if size == 0:
            return
        with open(self.path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._build_index(size)

    def _build_index(self, size: int) -> None:
        headers, data, at = [], self._map, 0
        while at < size:
            length = int.from_bytes(data[at : at + 8], "little")
            end = at + _HEADER + length + _FOOTER
            if end > size:
                raise DataError(
                    f"{self.path} is truncated or damaged: record {len(headers)} starts at byte {at} and should end at "
                    f"byte {end}, the file has {size}; copy or prepare the data set again"
                )
            headers.append(at)
            at = end
        self._starts = np.asarray(headers, np.int64) + _HEADER
        self._lengths = np.asarray([int.from_bytes(data[at : at + 8], "little") for at in headers], np.int64)
        stored = np.asarray([int.from_bytes(data[at + 8 : at + _HEADER], "little") for at in headers], np.uint32)
        wrong = np.flatnonzero(masked_crc32c([data[at : at + 8] for at in headers]) != stored)
        if len(wrong):
            raise DataError(
                f"{self.path} is damaged or no TFRecord: the length of record {wrong[0]} fails its checksum; "
                "copy or prepare the data set again"
            )

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: int) -> bytes:
        return self.read([index])[0]

    def read(self, indices: Sequence[int]) -> list[bytes]:
        """The bytes of several records.

        Raises:
            DataError: if the bytes of one fail their checksum.
        """
        records = []
        for i in indices:
            start = int(self._starts[i])
            records.append(self._map[start : start + int(self._lengths[i]) + _FOOTER])
        if not records:
            return []
        stored = np.asarray([int.from_bytes(record[-_FOOTER:], "little") for record in records], np.uint32)
        records = [record[:-_FOOTER] for record in records]
        wrong = np.flatnonzero(masked_crc32c(records) != stored)
        if len(wrong):
            raise DataError(
                f"{self.path} is damaged: record {indices[wrong[0]]} fails its checksum; copy or prepare the data "
                "set again"
            )
        return records
