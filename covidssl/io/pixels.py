"""The pixels of one DICOM slice as HU: uncompressed straight from the file, else decoded."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io.gate import HIGHEST_HU, LOWEST_HU
from covidssl.io.headers import UNCOMPRESSED, SliceHeader
from covidssl.io.opening import DEFLATED, MOST_FRAMES_BYTES, open_dicom
from covidssl.io.refusals import refusing

_RLE = "1.2.840.10008.1.2.5"
_NO_LENGTH = 0xFFFFFFFF
_INT16 = np.iinfo(np.int16)
_PIXELS = bytes.fromhex("e07f1000"), bytes.fromhex("7fe00010")


class PlaneReader:
    """Reads slices one by one; the file with several frames that was read last is kept.

    Args:
        source: the scan's name for messages.
        shown: values are taken for what is seen, not measured: MONOCHROME1 turns them round.
    """

    def __init__(self, source: str, shown: bool = False) -> None:
        self._source = source
        self._shown = shown
        self._stack = ExitStack()
        self._folder: Path | None = None
        self._kept: tuple[Path, Sequence[bytes]] | None = None
        self._room: NDArray[Any] = np.empty(0, np.int16)

    def __enter__(self) -> Self:
        import SimpleITK as sitk

        quiet = sitk.ProcessObject.GetGlobalWarningDisplay()
        sitk.ProcessObject.GlobalWarningDisplayOff()
        self._stack.callback(sitk.ProcessObject.SetGlobalWarningDisplay, quiet)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def hounsfield(self, header: SliceHeader) -> NDArray[np.int16]:
        """One slice in HU (rounded), shape (rows, columns); its memory is used again by the next.

        Raises:
            ScanError: when the pixels are damaged or do not fit the header.
        """
        with refusing(f"{self._source} ({header.label})", "a DICOM slice"):
            return hounsfield(self._stored(header), header, self._shown)

    def _stored(self, header: SliceHeader) -> NDArray[Any]:
        layout = header.layout
        if not layout.syntax or layout.syntax in UNCOMPRESSED:
            return self._straight(header)
        if layout.syntax == DEFLATED:
            (data,) = self._fragments(header)
            pixels = header.shape[0] * header.shape[1]
            kind = self._type(header)
            if len(data) < header.frames * pixels * kind.itemsize:
                raise ScanError(
                    f"{self._told(header)} ends before its last pixel. Copy it again.", "truncated"
                )
            flat = np.frombuffer(data, kind, pixels, header.frame * pixels * kind.itemsize)
            return flat.reshape(header.shape).copy()
        fragments = self._fragments(header)
        if header.frame >= len(fragments):
            raise ScanError(
                f"{self._told(header)} holds {len(fragments)} compressed frames; the header claims "
                f"{header.frames}.",
                "truncated",
            )
        return self._decoded(header, fragments[header.frame])

    def _straight(self, header: SliceHeader) -> NDArray[Any]:
        kind = self._type(header)
        if self._room.shape != header.shape or self._room.dtype != kind:
            self._room = np.empty(header.shape, kind)
        layout = header.layout
        with header.path.open("rb", buffering=0) as file:
            file.seek(layout.offset)
            self._check_element(file.read(layout.data_offset - layout.offset), header)
            file.seek(layout.data_offset + header.frame * self._room.nbytes)
            view = self._room.data.cast("B")
            done = 0
            while done < len(view):
                got = file.readinto(view[done:])
                if not got:
                    raise ScanError(
                        f"{self._told(header)} ends before its last pixel. Copy it again.",
                        "truncated",
                    )
                done += got
        return self._room if layout.little else self._room.byteswap()

    def _check_element(self, element: bytes, header: SliceHeader) -> None:
        """Refuse pixels that are not there, or fewer than the header claims."""
        if element[:4] not in _PIXELS:
            raise ScanError(f"{self._told(header)} holds no pixels. Copy it again.", "no_pixels")
        length = int.from_bytes(element[-4:], "little" if header.layout.little else "big")
        needed = header.frames * self._room.nbytes
        if length < needed or length == _NO_LENGTH:
            raise ScanError(
                f"{self._told(header)}: the header claims {needed} bytes of pixels, but they are "
                f"{'compressed' if length == _NO_LENGTH else length}. Export the series again.",
                "damaged_header",
            )

    def _fragments(self, header: SliceHeader) -> Sequence[bytes]:
        if self._kept is None or self._kept[0] != header.path:
            self._kept = None  # before the next is read: one file's pixels are enough in memory
            self._kept = header.path, _read_fragments(header, self._told(header))
        return self._kept[1]

    def _decoded(self, header: SliceHeader, fragment: bytes) -> NDArray[Any]:
        """A compressed slice's stored values: RLE through pydicom, all others through GDCM.

        They see the pixels without rescaling or any other header: so the stored values come out,
        for every frame alike, and the rescaling is the same code for all files.
        """
        import SimpleITK as sitk

        bare = _bare_file(header, fragment)
        if header.layout.syntax == _RLE:
            from pydicom.pixels.decoders.base import RLELosslessDecoder

            # It is the faster one here, and GDCM takes rows that end too early.
            return np.array(RLELosslessDecoder.as_array(bare, raw=True)[0])
        if self._folder is None:
            made = tempfile.TemporaryDirectory(prefix="covidssl-")
            self._folder = Path(self._stack.enter_context(made))
        path = self._folder / "slice.dcm"
        bare.save_as(path, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        plane: NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
        if plane.size != header.shape[0] * header.shape[1]:
            raise ScanError(
                f"{self._told(header)}: the pixels do not fit the header.", "damaged_header"
            )
        return plane.reshape(header.shape)

    def _type(self, header: SliceHeader) -> np.dtype[Any]:
        width = header.layout.allocated
        if width not in (8, 16, 32):
            raise ScanError(
                f"{self._told(header)}: {width} bits a pixel; expected 16 (or 8 or 32). The header "
                f"is damaged.",
                "damaged_header",
            )
        return np.dtype(f"{'i' if header.layout.signed else 'u'}{width // 8}")

    def _told(self, header: SliceHeader) -> str:
        return f"{self._source} ({header.label})"


def hounsfield(
    stored: NDArray[Any], header: SliceHeader, shown: bool = False
) -> NDArray[np.int16]:  # fmt: skip
    """Stored values as HU, rounded to whole numbers, -32768..32767; padding as air.

    Bits above those that count (old overlays) are taken off first. A padding value inside the range
    of the body would be a mistake of the writer, so only what lies outside it becomes air.

    Args:
        stored: any integer type, (rows, columns); is written over where it is 16 bits wide.
        header: gives bits, rescaling and padding.
        shown: turn values round where the header says that they are shown so (MONOCHROME1).
    """
    low, high = int(stored.min()), int(stored.max())
    if not _only_what_counts(low, high, header):
        stored = _without_overlays(stored, header)
        low, high = int(stored.min()), int(stored.max())
    padded = _padded(stored, header, (low, high))
    if shown and header.inverted:
        ends_sum = -1 if header.layout.signed else (1 << header.layout.stored) - 1
        stored = (ends_sum - stored.astype(np.int64)).astype(stored.dtype)
        low, high = ends_sum - high, ends_sum - low
    slope, intercept = header.slope, header.intercept
    ends = (low * slope + intercept, high * slope + intercept)
    if (
        slope == 1
        and intercept == round(intercept)
        and stored.dtype.itemsize == 2
        and _INT16.min <= ends[0] <= ends[1] <= _INT16.max
    ):
        plane: NDArray[np.int16] = stored.view(np.int16)
        if intercept:
            # Wraps around on the way where the stored values are unsigned, and is right at the end.
            plane += np.int16((int(intercept) + 2**15) % 2**16 - 2**15)
    else:
        scaled = np.rint(stored * np.float64(slope) + intercept)
        plane = np.clip(scaled, _INT16.min, _INT16.max).astype(np.int16)
    if padded is not None:
        plane[padded & ((plane < LOWEST_HU) | (plane > HIGHEST_HU))] = LOWEST_HU
    return plane


def _padded(
    stored: NDArray[Any], header: SliceHeader, ends: tuple[int, int]
) -> NDArray[np.bool_] | None:
    if header.padding is None:
        return None
    first, last = header.padding
    if last < ends[0] or first > ends[1]:
        return None
    return np.asarray((stored >= first) & (stored <= last))


def _only_what_counts(low: int, high: int, header: SliceHeader) -> bool:
    layout = header.layout
    least = -(1 << max(0, layout.stored - 1)) if layout.signed else 0
    return layout.high == layout.stored - 1 and least <= low and high < least + (1 << layout.stored)


def _without_overlays(stored: NDArray[Any], header: SliceHeader) -> NDArray[Any]:
    layout, width = header.layout, stored.dtype.itemsize * 8
    if layout.stored >= width or layout.stored < 1 or not layout.stored <= layout.high + 1 <= width:
        return stored
    # Upwards until the highest bit that counts is the highest of all, and back with its sign.
    stored <<= width - 1 - layout.high
    stored >>= width - layout.stored
    return stored


def _read_fragments(header: SliceHeader, told: str) -> Sequence[bytes]:
    from pydicom.encaps import generate_frames

    values = header.frames * header.shape[0] * header.shape[1]
    most = MOST_FRAMES_BYTES + values * header.layout.allocated // 8
    file = open_dicom(header.path, ["PixelData"], most, pixels=True).dataset
    if "PixelData" not in file:
        raise ScanError(f"{told} holds no whole image: truncated? Copy it again.", "truncated")
    if header.layout.syntax == DEFLATED:
        return [file.PixelData]
    return list(generate_frames(file.PixelData, number_of_frames=header.frames))


def _bare_file(header: SliceHeader, fragment: bytes) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID, CTImageStorage

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(header.layout.syntax)
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    file: Any = FileDataset("slice.dcm", {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID, file.Modality = CTImageStorage, "1.2.3", "CT"
    file.Rows, file.Columns = header.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    layout = header.layout
    file.BitsAllocated, file.BitsStored, file.HighBit = layout.allocated, layout.stored, layout.high
    file.PixelRepresentation = int(layout.signed)
    file.PixelData = encapsulate([fragment])
    file["PixelData"].VR = "OB"
    return file
