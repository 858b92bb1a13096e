"""Archives, directories and links that would fill the memory or lead out of their folder."""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import struct
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from tests.scan_files import chest_hu, lps_nifti, write_png

BOMB_BYTES = 256 << 20


def overlapping_zip(path: Path, members: int = 600) -> Path:
    """Members that share their packed bytes: each harmless, together 20 000 times the file."""
    noise = np.random.default_rng(0).bytes(10_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as into:
        into.writestr("000.raw", noise + bytes(1 << 20))
    content = path.read_bytes()
    at, end = content.rindex(b"PK\1\2"), content.rindex(b"PK\5\6")
    entry = content[at:end]
    table = b"".join(entry.replace(b"000.raw", b"%03d.raw" % k) for k in range(members))
    ending = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, members, members, len(table), at, 0)
    path.write_bytes(content[:at] + table + ending)
    return path


def lying_zip(path: Path, method: int) -> Path:
    """A member said to hold 100 bytes that unpacks to `BOMB_BYTES`."""
    with zipfile.ZipFile(path, "w", method) as into:
        into.writestr("scan.nii", bytes(100))
    with zipfile.ZipFile(path) as made:
        info = made.infolist()[0]
    packed = _packed_zeros(method)
    content = bytearray(path.read_bytes())
    start, grown = 30 + len("scan.nii"), len(packed) - info.compress_size
    content[start : start + info.compress_size] = packed
    at, end = content.rindex(b"PK\1\2"), content.rindex(b"PK\5\6")
    content[18:22] = content[at + 20 : at + 24] = struct.pack("<L", len(packed))
    (table,) = struct.unpack("<L", content[end + 16 : end + 20])
    content[end + 16 : end + 20] = struct.pack("<L", table + grown)
    path.write_bytes(bytes(content))
    return path


def _packed_zeros(method: int) -> bytes:
    pieces = BOMB_BYTES >> 20
    if method == zipfile.ZIP_DEFLATED:
        deflate = zlib.compressobj(9, wbits=-15)
        return b"".join(deflate.compress(bytes(1 << 20)) for _ in range(pieces)) + deflate.flush()
    if method == zipfile.ZIP_BZIP2:
        squeeze = bz2.BZ2Compressor(1)
        return b"".join(squeeze.compress(bytes(1 << 20)) for _ in range(pieces)) + squeeze.flush()
    alone = lzma.LZMACompressor(lzma.FORMAT_ALONE, preset=0)
    whole = b"".join(alone.compress(bytes(1 << 20)) for _ in range(pieces)) + alone.flush()
    return b"\x09\x14" + struct.pack("<H", 5) + whole[:5] + whole[13:]


def leading_out_zip(path: Path, name: str, content: bytes, link: bool = False) -> Path:
    """A member of any name; as a link, its content is what it points to."""
    member = zipfile.ZipInfo(name)
    if link:
        member.create_system = 3
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as into:
        into.writestr(member, content)
    return path


def write_dicomdir(path: Path, *file_id: str) -> Path:
    """A DICOMDIR whose one image record names the file `file_id`."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    record = Dataset()
    record.DirectoryRecordType = "IMAGE"
    index = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    index.FileSetID = "SET"
    index.DirectoryRecordSequence = [record]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no name of a file may hold dots, says the standard
        record.ReferencedFileID = list(file_id)
        index.save_as(path, enforce_file_format=True)
    return path


def huge_png(path: Path) -> Path:
    """A picture of 60 000 x 60 000 pixels in a few bytes."""
    header = struct.pack(">2L5B", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100_000))), (b"IEND", b"")]
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))
            for kind, body in chunks
        )
    )
    return path


def write_outside(folder: Path) -> Path:
    """Files that no verb was given: a secret picture and a secret scan."""
    write_png(folder / "secret.png", np.full((64, 64), 123, np.uint8))
    lps_nifti(folder / "secret.nii", chest_hu(6))
    (folder / "secret.raw").write_bytes(chest_hu(8).tobytes())
    return folder


def write_links_out(clinic: Path, outside: Path) -> None:
    """Links to a file, to a folder, and in a circle; headers and a DICOMDIR that point out."""
    clinic.mkdir(parents=True, exist_ok=True)
    (clinic / "link.png").symlink_to(outside / "secret.png")
    (clinic / "relative.nii").symlink_to(os.path.relpath(outside / "secret.nii", clinic))
    (clinic / "folder").symlink_to(outside, target_is_directory=True)
    (clinic / "circle").symlink_to(clinic, target_is_directory=True)
    (clinic / "self.png").symlink_to("self.png")
    way = os.path.relpath(outside, clinic)
    write_dicomdir(clinic / "DICOMDIR", *way.split("/"), "secret.nii")
    write_dicomdir(clinic / "index.dcm", *way.split("/"), "secret.nii")
    mhd = "ObjectType = Image\nNDims = 3\nDimSize = 64 64 8\nElementType = MET_SHORT\n"
    nrrd = "NRRD0004\ntype: short\ndimension: 3\nsizes: 64 64 8\nencoding: raw\nendian: little\n"
    for number, target in enumerate((f"{way}/secret.raw", str(outside / "secret.raw"))):
        (clinic / f"{number}.mhd").write_text(f"{mhd}ElementDataFile = {target}\n")
        (clinic / f"{number}.nhdr").write_text(f"{nrrd}data file: {target}\n")
    (clinic / "linked.mhd").write_text(f"{mhd}ElementDataFile = linked.raw\n")
    (clinic / "linked.raw").symlink_to(outside / "secret.raw")
