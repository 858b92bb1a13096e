"""Strings that stand for a patient's name, planted wherever a file can hold text, and the search.

Every text-like element that DICOM knows is filled, so that no list of "the names" can be too short.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import io
import re
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag

WORD = "QXCANARYZ"
"""Stands in every header; no part of a file's name."""

PATH_WORD = "WVPATHJK"
"""Stands in every name of a file and folder."""

PATIENT = f"{WORD} 7735191"
SERIES = "1.2.826.0.7735192.11"
DATE, TIME, NUMBER, AGE = "19340917", "073519.773519", "773519301", "093Y"
_UID = "1.2.826.0.7735193"
_DIGITS = ("773519", DATE, "1934-09-17", "17.09.1934", "09/17/1934")

_VALUES = {
    "PN": f"{WORD}^JANE", "LO": WORD, "SH": WORD, "ST": WORD, "LT": WORD, "UT": WORD, "UC": WORD,
    "UR": f"http://{WORD}/", "CS": WORD, "AE": WORD, "UI": _UID, "DA": DATE, "TM": TIME,
    "DT": DATE + TIME, "AS": AGE, "IS": NUMBER, "DS": NUMBER, "UN": WORD.encode(),
    "OB": WORD.encode() + b" ", "OW": WORD.encode() + b" ",
}  # fmt: skip

# Without their true values a file is no CT at all. What else the readers look at is planted.
_NEEDED = {
    "SOPClassUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID", "Modality", "ImageType",
    "InstanceNumber", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing",
    "SliceThickness", "RescaleIntercept", "RescaleSlope", "PhotometricInterpretation",
    "NumberOfFrames", "SpecificCharacterSet", "PixelData", "FloatPixelData",
    "DoubleFloatPixelData", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence",
    "IssuerOfPatientID", "PixelPaddingValue", "GantryDetectorTilt",
}  # fmt: skip

# Numbers that a refusal may quote, since they are the reason.
_COUNTED = {
    "SpecificCharacterSet", "PixelData", "PatientID", "NumberOfFrames", "SliceThickness",
    "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope",
    "RescaleIntercept",
}  # fmt: skip


def plant_dicom(path: Path, needed: bool = True) -> None:
    """Fill every text-like element of a DICOM file, nested ones, private ones and the meta data.

    Args:
        path: changed in place.
        needed: keep what a CT must have; False: plant there too, so that it is refused.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = pydicom.dcmread(path)
        file.PatientID, file.SeriesInstanceUID = PATIENT, SERIES
        nested = Dataset()
        for keyword in ("PatientName", "OperatorsName", "StudyDate", "ReferencedSOPInstanceUID"):
            nested.add(_element(keyword))
        deeper = Dataset()
        deeper.OtherPatientIDsSequence = Items([nested])
        spare = set(_NEEDED) if needed else _COUNTED
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
            if keyword in spare or tag >> 16 in (0x0000, 0x0002, 0xFFFE, 0x7FE0):
                continue
            if vr == "SQ":
                file.add_new(tag, vr, Items([nested, deeper]))
            elif vr in _VALUES:
                file.add_new(tag, vr, _VALUES[vr])
        block = file.private_block(0x0011, f"{WORD} CREATOR", create=True)
        for place, vr in enumerate(("LO", "PN", "UN", "DA", "UI", "SQ")):
            block.add_new(place, vr, Items([nested]) if vr == "SQ" else _VALUES[vr])
        meta = file.file_meta
        meta.MediaStorageSOPInstanceUID = meta.ImplementationClassUID = _UID
        meta.ImplementationVersionName = meta.SourceApplicationEntityTitle = WORD
        meta.PrivateInformationCreatorUID, meta.PrivateInformation = _UID, WORD.encode() + b" "
        file.preamble = (WORD.encode() * 20)[:128]
        file.save_as(path, enforce_file_format=True)


def _element(keyword: str) -> pydicom.DataElement:
    tag = Tag(keyword)
    vr = DicomDictionary[tag][0]
    return pydicom.DataElement(tag, vr, _VALUES[vr])


def overwrite_dicom(path: Path, keyword: str) -> None:
    """Put the word where the reader expects numbers or a known term."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        file = pydicom.dcmread(path)
        file.add_new(Tag(keyword), "LO", WORD)
        file.save_as(path, enforce_file_format=True)


def plant_nifti(path: Path, array_xyz: NDArray[np.generic], spacing_mm: float = 2.0) -> Path:
    """A NIfTI file with every text of its header and two extensions filled; `.gz` names it too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array_xyz, np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0]))
    for field in ("descrip", "aux_file", "db_name", "intent_name", "data_type"):
        image.header[field] = WORD.encode()
    for code in (6, 2):
        content = f"{PATIENT} {DATE} {SERIES}".encode()
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(code, content))
    plain = image.to_bytes()
    if path.suffix != ".gz":
        path.write_bytes(plain)
        return path
    with path.open("wb") as file, gzip.GzipFile(f"{WORD}.nii", "wb", fileobj=file) as packed:
        packed.write(plain)
    return path


def plant_metaimage(path: Path, array_zyx: NDArray[np.generic]) -> Path:
    """A MetaImage or NRRD file with comments and keys of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array_zyx)
    image.SetSpacing((2.0, 2.0, 2.0))
    image.SetMetaData("PatientName", WORD)
    image.SetMetaData("Comment", f"{PATIENT} {DATE}")
    sitk.WriteImage(image, str(path))
    content = path.read_bytes()
    if path.suffix == ".nrrd":
        first, rest = content.split(b"\n", 1)
        path.write_bytes(first + f"\n# {PATIENT} {DATE}\ncontent: {WORD}\n".encode() + rest)
    else:
        path.write_bytes(content.replace(b"NDims", f"Name = {WORD}\nNDims".encode(), 1))
    return path


def plant_picture(path: Path, grey: NDArray[np.uint8]) -> Path:
    """A PNG, JPG or TIFF with text, EXIF and comments."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(grey)
    exif = Image.Exif()
    for tag in (0x010E, 0x013B, 0x8298, 0x0131):  # description, artist, copyright, software
        exif[tag] = f"{PATIENT} {DATE}"
    if path.suffix == ".png":
        text = PngImagePlugin.PngInfo()
        text.add_text("PatientName", WORD)
        text.add_text(WORD, PATIENT, zip=True)
        text.add_itxt("Comment", PATIENT, lang=WORD, tkey=WORD, zip=True)
        picture.save(path, pnginfo=text, exif=exif)
    elif path.suffix == ".jpg":
        picture.save(path, exif=exif, comment=PATIENT.encode(), quality=95)
    else:
        picture.save(path, exif=exif)
    return path


def plant_zip(path: Path, files: dict[str, bytes]) -> Path:
    """A zip of files, with comments on itself and on each of them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = f"{PATIENT} {DATE}".encode()
        for name, content in files.items():
            member = zipfile.ZipInfo(name)
            member.comment = f"{PATIENT} {SERIES}".encode()
            archive.writestr(member, content)
    return path


def needles() -> dict[str, tuple[bytes, ...]]:
    """What must not be found, by what it tells: words, numbers, and plain hashes of identifiers."""
    plain = (WORD, *_DIGITS, AGE)
    hashes = [
        hashlib.new(name, identifier.encode()).hexdigest()[:12]
        for name in ("md5", "sha1", "sha256", "sha512", "blake2b", "sha3_256")
        for identifier in (PATIENT, SERIES, PATIENT.strip(), f"patient\0{PATIENT}")
    ]
    return {"header": _encoded(plain), "plain hash": _encoded(hashes)}


def _encoded(words: list[str] | tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple({word.lower().encode(code) for word in words for code in ("utf-8", "utf-16-le")})


def found(folder: Path, wanted: dict[str, tuple[bytes, ...]]) -> list[str]:
    """Which of `wanted` stand in any file below `folder`, in its name, or packed inside it."""
    found_hits = []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found_hits += [f"{name}: {what} in its name" for what in hits(name.encode(), wanted)]
        if path.is_file():
            # Encoded pictures are searched decoded: four letters stand in any megabyte of base64.
            content = path.read_bytes()
            parts = [_BASE64.sub(b"base64,", content), *_unpacked(content)]
            found_hits += [f"{name}: {what}" for part in parts for what in hits(part, wanted)]
    return found_hits


def hits(content: bytes, wanted: dict[str, tuple[bytes, ...]]) -> list[str]:
    """Which of `wanted` stand in a text."""
    lowered = content.lower()
    return [
        f"{kind} {word.decode(errors='replace')}"
        for kind, words in wanted.items()
        for word in words
        if word in lowered
    ]


_BASE64 = re.compile(rb"base64,([A-Za-z0-9+/=]+)")


def _unpacked(content: bytes) -> Iterator[bytes]:
    """What is compressed or encoded inside: pictures in pages, text in pictures, gzip, zip."""
    if content.startswith(b"\x89PNG"):
        yield from _texts_of_png(content)
    if content.startswith(b"\x1f\x8b"):
        yield zlib.decompressobj(wbits=31).decompress(content)
    if content.startswith(b"PK"):
        with (
            contextlib.suppress(zipfile.BadZipFile),
            zipfile.ZipFile(io.BytesIO(content)) as archive,
        ):
            for member in archive.namelist():
                yield archive.read(member)
    for data in _BASE64.findall(content):
        inner = base64.b64decode(data)
        yield inner
        yield from _unpacked(inner)


def _texts_of_png(content: bytes) -> Iterator[bytes]:
    place = 8
    while place + 8 <= len(content):
        length, kind = int.from_bytes(content[place : place + 4], "big"), content[place + 4 :][:4]
        body = content[place + 8 : place + 8 + length]
        if kind in (b"zTXt", b"iTXt", b"iCCP"):
            for start in range(len(body)):
                try:
                    yield zlib.decompress(body[start:])
                    break
                except zlib.error:
                    continue
        place += 12 + length
