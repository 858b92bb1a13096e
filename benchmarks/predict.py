"""A scan from its NIfTI file to all products, beside what no program could do without."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from benchmarks.drawn_models import drawn_card
from benchmarks.rows import Bar, Device, Pair, Row, row
from benchmarks.timing import Contender, interleaved, use_threads
from covidssl.answers import Outcome
from covidssl.errors import UsageError
from covidssl.frames import Frame, frame_pixels, unit_from_frames
from covidssl.hounsfield import Pixels
from covidssl.inference.job import Job, look, said_of, write
from covidssl.io import find_scans, read_ct, read_scan, write_volume
from covidssl.lungs import segment_lungs
from covidssl.model import Model, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.networks.unet import RestorationUNet
from covidssl.phantom import phantom_chest
from covidssl.prediction import Predictor
from covidssl.randomness import initial_weights

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
FLOOR, LUNGMASK, READ = "bare read, lungs and networks", "lungmask R231, network alone", "bare read"
_FLOOR, _LUNGMASK = 1.5, 0.15
_THREADS = 2
_R231_BATCH, _R231_EDGE = 20, 256  # as lungmask has them
_AT_ONCE = 16


class Bench(NamedTuple):
    """A scan on disk and a model in memory.

    Attributes:
        job: what `covidssl predict` does with each scan, all of its products included.
        predictor: the models of the job.
        scan: its path.
        shape: of the scan (Z, Y, X).
        classified, restored: the frames that the two networks have to see, network units.
    """

    job: Job
    predictor: Predictor
    scan: Path
    shape: tuple[int, ...]
    classified: torch.Tensor
    restored: torch.Tensor


def run(device: Device, quick: bool) -> tuple[list[Row], tuple[int, ...]]:
    """All rows of a device, and the number of threads.

    Raises:
        UsageError: when there is no real CT beside the checkout; a quick run takes a phantom.
    """
    before = use_threads(_THREADS)
    try:
        with tempfile.TemporaryDirectory() as made:
            bench = prepared(Path(made), device, quick)
            measured = _on_a_gpu if device == "cuda" else _on_a_cpu
            return list(measured(bench, quick)), (_THREADS,)
    finally:
        use_threads(before)


def prepared(folder: Path, device: Device, quick: bool) -> Bench:
    """The scan of NLST, or a phantom, and a model of the default plan whose weights are drawn."""
    scan = _phantom(folder / "scan.nii.gz") if quick else _nlst()
    model = folder / "model"
    write_model(model, EncoderPlan(channels=(8, 8), groups=4) if quick else EncoderPlan())
    job = Job(out=folder / "out", models=(model,), device=device)
    predictor = job.predictor()
    ct = read_ct(scan)
    ready = predictor.prepare(ct)
    maps = predictor.answer(ready).maps
    if maps is None or maps.lesion_planes is None or ready.cut is None or ct.pixels is None:
        raise UsageError(f"{scan.name}: gives no lesion map, so there is nothing to measure.")
    rows = maps.lesion_planes.at.astype(np.int64)
    seen = frame_pixels(ct.array[rows], ct.pixels, maps.box, predictor.model.card.frame)
    frames = (ready.cut.frames, seen)
    units = [unit_from_frames(torch.from_numpy(of))[:, None] for of in frames]
    placed = [unit.to(predictor.model.device) for unit in units]
    return Bench(job, predictor, scan, ct.array.shape, *placed)


def write_model(folder: Path, plan: EncoderPlan) -> None:
    """A model folder with a classifier and a restoration network that have learnt nothing."""
    with initial_weights(0):
        classifier = CovidClassifier(build_encoder(plan))
        restoration = RestorationUNet(build_encoder(plan))
    card = drawn_card(plan, Frame(pixels=Pixels.HU), burden_threshold=0.15)
    save_model(folder, card, classifier.state_dict(), restoration.state_dict())


def all_products(bench: Bench) -> None:
    """What `covidssl predict` does with a scan once its models are loaded."""
    scan = find_scans([bench.scan]).scans[0]
    looked = look(scan, bench.predictor, bench.job.reading)
    said, seconds, trace = said_of(looked, bench.predictor)
    written = write(bench.job, looked, said, seconds, trace)
    if written.entry.outcome not in (Outcome.OK, Outcome.WARNED):
        raise RuntimeError(f"the scan was not answered: {written.text} {trace}")


def floor(bench: Bench) -> None:
    """The read, the lungs, and each network once on the frames that the products need."""
    segment_lungs(read_scan(find_scans([bench.scan]).scans[0]))
    networks(bench)


@torch.inference_mode()
def networks(bench: Bench) -> None:
    """Each network once on its frames."""
    model = bench.predictor.model
    if not isinstance(model, Model):
        raise TypeError("The bench predicts with a classifier.")
    for network, frames in (
        (model.classifier, bench.classified),
        (model.restoration, bench.restored),
    ):
        if network is None:
            continue
        network.eval()
        for part in frames.split(_AT_ONCE):
            network(part)


def lungmask_forward(slices: int, edge: int, device: str) -> Callable[[], None]:
    """R231 of lungmask with drawn weights, on so many slices in batches as lungmask takes them."""
    try:
        from lungmask.resunet import UNet
    except ImportError as error:
        raise UsageError(
            "The package lungmask is not installed: pip install 'covidssl[lungmask]'."
        ) from error
    with initial_weights(0):
        network: Any = UNet(
            n_classes=3, depth=5, wf=6, padding=True, batch_norm=True, up_mode="upsample",
            residual=False,
        )  # fmt: skip
    network.eval().to(device)
    sizes = [min(_R231_BATCH, slices - k) for k in range(0, slices, _R231_BATCH)]

    @torch.inference_mode()
    def forward() -> None:
        for size in sizes:
            network(torch.zeros((size, 1, edge, edge), device=device))

    return forward


def _on_a_cpu(bench: Bench, quick: bool) -> Iterator[Row]:
    case = f"{_size(bench.shape)} NIfTI to all products, {_THREADS} threads"
    ours = Contender("ours", partial(all_products, bench))
    rounds = 1 if quick else 9
    seconds = interleaved([ours, Contender(FLOOR, partial(floor, bench))], rounds, 0.0)
    bar = Bar("at most", None if quick else _FLOOR)
    yield row(case, "s", Pair(seconds["ours"], seconds[FLOOR]), FLOOR, bar)
    peer = lungmask_forward(
        2 if quick else bench.shape[0], 64 if quick else _R231_EDGE, "cpu"
    )  # fmt: skip
    seconds = interleaved([ours, Contender(LUNGMASK, peer)], 1 if quick else 3, 0.0)
    bar = Bar("at most", None if quick else _LUNGMASK)
    yield row(case, "s", Pair(seconds["ours"], seconds[LUNGMASK]), LUNGMASK, bar)


def _on_a_gpu(bench: Bench, quick: bool) -> Iterator[Row]:
    """Scans per second, one after another; the network is asked of the GPU."""
    case = f"{_size(bench.shape)} NIfTI to all products, one after another"
    contenders = [
        Contender("ours", partial(all_products, bench)),
        Contender(READ, lambda: read_scan(find_scans([bench.scan]).scans[0])),
        Contender(FLOOR, partial(floor, bench)),
    ]
    seconds = interleaved(contenders, 1 if quick else 9, 0.0, torch.cuda.synchronize)
    rates = {name: [1 / one for one in found] for name, found in seconds.items()}
    for peer in (READ, FLOOR):
        pair = Pair(rates["ours"], rates[peer], more_is_better=True)
        yield row(case, "scans/s", pair, peer, Bar("at least"), "cuda")


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape[::-1]))


def _nlst() -> Path:
    path = DATA / "nlst" / "NLST-101287.nii.gz"
    if not path.is_file():
        raise UsageError(
            "No real CT beside the checkout (../shared/data), and prediction is measured on "
            "nothing else. `--quick` runs on a phantom."
        )
    return path


def _phantom(path: Path) -> Path:
    write_volume(phantom_chest(0, lesions=True).ct, path)
    return path
