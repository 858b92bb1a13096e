"""Breaking what a header says, where it says it: sizes, types, offsets, scales, places, names."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pydicom
from numpy.random import Generator
from pydicom.dataelem import RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.tag import Tag

from tests.dicom_files import deflate_bomb
from tests.fuzz.good import good_files
from tests.fuzz.mutations import break_bytes, extreme_float, extreme_integer

Break = Callable[[bytes, Generator], bytes]

_WORDS = (
    "", "0", "-1", "1", "nan", "inf", "-inf", "1e400", "1e-320", "99999999999999999999",
    "2147483648", "4294967296", "65536", "32", "2", "16", "LIST", "LOCAL", "../../etc/passwd",
    "/etc/passwd", "%d",
    "%s%s%n 1 9 1", "x%03d.raw 1 3 1", "x" * 5000, "\\", "0\\0", "nan\\nan", "1\\2\\3", "é", "None",
    "True", "1 1 1", "0 0 0", "-1 -1 -1", "MET_FLOAT", "double", "gzip", "raw", "(0,0,0)", "none",
)  # fmt: skip

# Offset, width, count and whether it is a float, of the fields of a NIfTI-1 header.
_NIFTI = (
    (0, 4, 1, False), (40, 2, 8, False), (70, 2, 1, False), (72, 2, 1, False), (76, 4, 8, True),
    (108, 4, 1, True), (112, 4, 2, True), (252, 2, 2, False), (256, 4, 6, True), (280, 4, 12, True),
    (344, 4, 1, False), (348, 4, 1, False),
)  # fmt: skip
_NIFTI_TYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304)

_DICOM = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "SamplesPerPixel", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "NumberOfFrames",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "ImageType", "Modality", "SeriesInstanceUID",
    "SliceThickness", "SOPClassUID", "AcquisitionNumber", "PixelData", "PlanarConfiguration",
    "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence", "PatientID",
    "BurnedInAnnotation", "LossyImageCompression", "InstanceNumber", "WindowCenter",
)  # fmt: skip
_SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.100", "1.2.3", "",
)  # fmt: skip


def _nifti(content: bytes, rng: Generator) -> bytes:
    broken = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        offset, width, count, is_float = _NIFTI[int(rng.integers(len(_NIFTI)))]
        at = offset + width * int(rng.integers(count))
        value = extreme_float(rng, width) if is_float else extreme_integer(rng, width)
        if offset == 70 and rng.random() < 0.7:
            value = struct.pack("<h", _NIFTI_TYPES[int(rng.integers(len(_NIFTI_TYPES)))])
        broken[at : at + width] = value
    return bytes(broken)


def _nifti_packed(content: bytes, rng: Generator) -> bytes:
    return gzip.compress(_nifti(gzip.decompress(content), rng), 1, mtime=0)


def _lines(content: bytes, rng: Generator) -> bytes:
    """A header of lines: a value replaced, a line doubled, dropped or moved."""
    blank = content.find(b"\n\n")
    local = content.find(b"LOCAL\n")
    end = blank if blank >= 0 else local + 5 if local >= 0 else len(content)
    lines = content[:end].decode("latin-1").split("\n")
    for _ in range(int(rng.integers(1, 3))):
        at, kind = int(rng.integers(len(lines))), int(rng.integers(6))
        word = _WORDS[int(rng.integers(len(_WORDS)))]
        key, separator, value = lines[at].partition("=" if "=" in lines[at] else ":")
        parts = value.split()
        if kind < 2 or not parts:
            lines[at] = f"{key}{separator} {word}"
        elif kind < 4:
            parts[int(rng.integers(len(parts)))] = word
            lines[at] = f"{key}{separator} {' '.join(parts)}"
        elif kind == 4:
            lines.insert(int(rng.integers(len(lines))), lines[at])
        elif len(lines) > 1:
            del lines[at]
    return "\n".join(lines).encode("latin-1") + content[end:]


def _dicom(content: bytes, rng: Generator) -> bytes:
    file: Any = pydicom.dcmread(io.BytesIO(content), force=True)
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.1:
            syntax = _SYNTAXES[int(rng.integers(len(_SYNTAXES)))]
            file.file_meta.TransferSyntaxUID = syntax
            continue
        target = file
        groups = file.get("PerFrameFunctionalGroupsSequence", None)
        if groups and rng.random() < 0.5:
            frame = groups[int(rng.integers(len(groups)))]
            macros = [element.value[0] for element in frame if element.VR == "SQ" and element.value]
            target = macros[int(rng.integers(len(macros)))] if macros else file
        _set(target, _DICOM[int(rng.integers(len(_DICOM)))], rng)
    written = _written(file, content)
    if _is_deflated(content) and rng.random() < 0.1:
        written = _with_bomb(written, int(2 ** rng.uniform(5, 12)))
    return written


def _is_deflated(content: bytes) -> bool:
    return b"1.2.840.10008.1.2.1.99" in content[:1024]


def _with_bomb(content: bytes, mib: int) -> bytes:
    try:
        return deflate_bomb(content, mib)
    except zlib.error:  # what was broken before is no longer where its header says
        return content


def _written(file: Any, good: bytes) -> bytes:
    """The file's bytes in its old encoding, whatever transfer syntax it now claims."""
    implicit, little = file.original_encoding
    header = DicomBytesIO()
    header.write(b"\0" * 128 + b"DICM")
    write_file_meta_info(header, file.file_meta, enforce_standard=False)
    body = DicomBytesIO()
    body.is_implicit_VR, body.is_little_endian = implicit, little
    write_dataset(body, file)
    pixels = body.getvalue()
    if _is_deflated(good):
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        pixels = packer.compress(pixels) + packer.flush()
    return header.getvalue() + pixels


def _set(target: Any, keyword: str, rng: Generator) -> None:
    tag = Tag(keyword)
    if rng.random() < 0.2:
        if tag in target:
            del target[tag]
        return
    vr = pydicom.datadict.dictionary_VR(tag)
    if vr in ("US", "US or SS"):
        value = extreme_integer(rng, 2)
        vr = "US"
    elif vr in ("SQ", "OB or OW"):
        return
    else:
        value = _WORDS[int(rng.integers(len(_WORDS)))].encode("latin-1")
        value += b" " * (len(value) % 2)
    target[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def _png(content: bytes, rng: Generator) -> bytes:
    """A chunk broken, and its checksum made to fit again."""
    chunks, at = [], 8
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += 12 + length
    number = int(rng.integers(len(chunks)))
    kind, body = chunks[number]
    if kind == b"IHDR" and rng.random() < 0.7:
        place = int(rng.integers(4))
        body = (
            body[: 4 * place] + extreme_integer(rng, 4) + body[4 * place + 4 :]
            if place < 2
            else body[: 8 + int(rng.integers(5))].ljust(13, bytes([int(rng.integers(20))]))
        )
    elif kind == b"IDAT" and rng.random() < 0.5:
        body = zlib.compress(break_bytes(zlib.decompress(body), rng))
    else:
        body = break_bytes(body, rng)
    chunks[number] = kind, body
    return content[:8] + b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        for kind, body in chunks
    )


def _tiff(content: bytes, rng: Generator) -> bytes:
    """An entry of a directory: its tag, type, count or value."""
    broken = bytearray(content)
    at = int.from_bytes(content[4:8], "little")
    directories = []
    while 0 < at < len(content) - 2 and len(directories) < 9:
        entries = int.from_bytes(content[at : at + 2], "little")
        directories.append((at, entries))
        after = at + 2 + 12 * entries
        at = int.from_bytes(content[after : after + 4], "little")
    place, entries = directories[int(rng.integers(len(directories)))]
    for _ in range(int(rng.integers(1, 3))):
        entry = place + 2 + 12 * int(rng.integers(entries))
        offset, width = ((0, 2), (2, 2), (4, 4), (8, 4), (8, 4))[int(rng.integers(5))]
        broken[entry + offset : entry + offset + width] = extreme_integer(rng, width)
    if rng.random() < 0.2:
        after = place + 2 + 12 * entries
        broken[after : after + 4] = extreme_integer(rng, 4)
    return bytes(broken)


def _jpeg(content: bytes, rng: Generator) -> bytes:
    """A byte or number in one of the segments before the scan."""
    broken = bytearray(content)
    marks = [at for at in range(2, len(content) - 12) if content[at] == 0xFF
             and 0xC0 <= content[at + 1] <= 0xEF]  # fmt: skip
    at = marks[int(rng.integers(len(marks)))] + 2 + int(rng.integers(10))
    width = 1 + int(rng.integers(2))
    broken[at : at + width] = extreme_integer(rng, width)
    return bytes(broken)


def _zip(content: bytes, rng: Generator) -> bytes:
    """A field of the table of contents, or a member broken and packed again."""
    if rng.random() < 0.5:
        written = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as good, zipfile.ZipFile(written, "w") as into:
            names = good.namelist()
            broken = names[int(rng.integers(len(names)))]
            for name in names:
                inner = good.read(name)
                if name == broken:
                    inner = break_bytes(inner, rng)
                called = _WORDS[int(rng.integers(len(_WORDS)))] if rng.random() < 0.1 else name
                into.writestr(zipfile.ZipInfo(called), inner, zipfile.ZIP_DEFLATED)
        return written.getvalue()
    mark = (b"PK\1\2", b"PK\3\4", b"PK\5\6")[int(rng.integers(3))]
    places = [at for at in range(len(content)) if content.startswith(mark, at)]
    at = places[int(rng.integers(len(places)))] + 4 + 2 * int(rng.integers(21))
    width = (2, 4)[int(rng.integers(2))]
    return content[:at] + extreme_integer(rng, width) + content[at + width :]


_OF_FORMAT: dict[str, Break] = {
    "nii": _nifti,
    "nii.gz": _nifti_packed,
    "mha": _lines,
    "mhd": _lines,
    "nrrd": _lines,
    "nhdr": _lines,
    "png": _png,
    "png16": _png,
    "jpg": _jpeg,
    "tif": _tiff,
    "tif16": _tiff,
    "tif-pages": _tiff,
    "zip": _zip,
}


def break_fields(format: str, content: bytes, rng: Generator) -> bytes:
    """Fields of a file's header set to what programs stumble over."""
    return _OF_FORMAT.get(format, _dicom)(content, rng)


def broken_files(format: str, rng: Generator) -> dict[str, bytes]:
    """The files of a good scan, one of them broken in its bytes, its fields, or both."""
    files = dict(good_files(format))
    names = sorted(files)
    # The header of two files is the one worth breaking.
    header = next((name for name in names if name.endswith((".mhd", ".nhdr"))), None)
    name = header or names[int(rng.integers(len(names)))]
    how = rng.random()
    if how < 0.6:
        files[name] = break_fields(format, files[name], rng)
    if how >= 0.5:
        at = names[int(rng.integers(len(names)))] if header and rng.random() < 0.3 else name
        files[at] = break_bytes(files[at], rng)
    return files
