"""Real scans: consolidation shows without any learning, DICOM objects lie on real slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
from sklearn.metrics import average_precision_score

from covidssl.hounsfield import Pixels
from covidssl.io import find_scans, read_mask, read_scan
from covidssl.maps import write_maps
from covidssl.model import Model
from tests.maps.made_maps import said_of, untaught

pytestmark = pytest.mark.realdata


def loaded(path: Path) -> Any:
    """A NIfTI file, by nibabel: read by nothing of ours."""
    return nibabel.load(path)


def seeing(pixels: Pixels) -> Model:
    """The model that has learnt nothing, for frames of 96 pixels of that kind."""
    model = untaught()
    frame = model.card.frame.model_copy(update={"pixels": pixels, "size": 96})
    card = model.card.model_copy(update={"frame": frame})
    return Model(card, model.classifier, model.restoration)


def test_consolidation_stands_out_from_mere_brightness(real_data: Path, tmp_path: Path) -> None:
    """Case 2, on which nothing was chosen; the network takes nothing off, density has to do."""
    folder = real_data / "medseg-9"
    source = find_scans([folder / "case2_image.nii.gz"]).scans[0]
    lungs = np.asarray(read_mask(folder / "case2_lung.nii.gz").array, dtype=bool)
    said = said_of(read_scan(source), lungs, seeing(Pixels.WINDOWED))
    files = write_maps(tmp_path, "it", said, source).paths
    names = (folder / "case2_lung.nii.gz", folder / "case2_infection.nii.gz", *source.paths)
    inside, drawn, grey, found = map(loaded, (*names, tmp_path / files["lesion_map"]))
    assert np.array_equal(found.affine, grey.affine)
    lung = inside.get_fdata() > 0
    target, rival, ours = (image.get_fdata()[lung] for image in (drawn, grey, found))
    score = average_precision_score(target > 0, ours)
    assert score > average_precision_score(target > 0, rival) + 0.05


def test_a_real_series_gets_objects_on_its_own_slices(real_data: Path, tmp_path: Path) -> None:
    source = find_scans([real_data / "lidc-slabs" / "LIDC-IDRI-0002"]).scans[0]
    ct = read_scan(source)
    lungs = np.zeros(ct.array.shape, dtype=bool)
    lungs[:, 200:320, 100:200] = True
    said = said_of(ct, lungs, seeing(Pixels.HU))
    files = write_maps(tmp_path, "it", said, source, dicom=True).paths
    seg = highdicom.seg.segread(tmp_path / files["seg"])
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in source.paths]
    slices.sort(key=lambda one: float(one.ImagePositionPatient[2]))
    masks = seg.get_pixels_by_source_instance([one.SOPInstanceUID for one in slices])
    assert np.array_equal(masks[..., 1] > 0, lungs)
    assert seg.StudyInstanceUID == slices[0].StudyInstanceUID
    report = pydicom.dcmread(tmp_path / files["sr"])
    assert report.StudyInstanceUID == slices[0].StudyInstanceUID
