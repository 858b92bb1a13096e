"""The parts of a pretraining: its pictures, its task, and the first state of its network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from covidssl.clean_slices import StoredPictures, open_slices
from covidssl.errors import UsageError
from covidssl.experiments import PretrainConfig
from covidssl.networks.encoder import build_encoder
from covidssl.pack import Pack
from covidssl.pretext import PretextTask, Setting
from covidssl.quality import ChosenOn, read_chosen_on
from covidssl.randomness import initial_weights
from covidssl.starting import FROM_SCRATCH, start_pretraining
from covidssl.store import Store
from covidssl.training import TrainingState, must_have_right_gradients
from covidssl.weights import EncoderCard


@dataclass(frozen=True)
class Pretraining:
    """One pretraining, before its first step.

    Attributes:
        config: what is trained, and how.
        slices: all pictures of the store.
        state: the first one.
        init_sha256: of the weights that it starts from; `none` from scratch.
        chosen_before: the labelled scans that chose them.
        init: the card of those weights; None from scratch.
    """

    config: PretrainConfig
    slices: StoredPictures
    state: TrainingState
    init_sha256: str
    chosen_before: ChosenOn = ChosenOn()
    init: EncoderCard | None = None

    @cached_property
    def task(self) -> PretextTask:
        """What teaches the encoder."""
        config = self.config
        setting = Setting(config.frame.window_hu, len(config.encoder.channels), config.seed)
        return config.pretext.task(setting)


def opened(data: Path | str | Store | Pack) -> Store | Pack:
    """A store by its folder or address, a pack by its file, or one that is open already."""
    return data if isinstance(data, (Store, Pack)) else open_slices(data)


def begin_pretraining(
    config: PretrainConfig,
    slices: StoredPictures,
    init: Path | None,
    device: torch.device,
    processes: int,
) -> Pretraining:
    """The pretraining on a device, with the first state of its network.

    Args:
        config: what to train, and how.
        slices: pictures of the store.
        init: weights to start from; None from scratch.
        device: where the network runs.
        processes: that share each batch.

    Raises:
        CovidsslError: for a batch that cannot be shared, or weights that cannot be loaded.
    """
    must_have_whole_batches(config, processes)
    if config.pretext.teaches:
        precision = config.training.precision
        must_have_right_gradients(config.encoder.dimensions, precision, device)
    with initial_weights(config.seed):
        network = config.pretext.network(build_encoder(config.encoder))
    card, chosen = None, ChosenOn()
    if init is not None:
        card = start_pretraining(network, init, config.frame, config.encoder)
        chosen = read_chosen_on(init)
    # Before the optimiser: its state must lie where the weights are when a run is resumed.
    network.to(device)
    plan = config.training
    optimizer = torch.optim.AdamW(
        (parameter for parameter in network.parameters() if parameter.requires_grad),
        plan.learning_rate,
        weight_decay=plan.weight_decay,
    )
    sha256 = FROM_SCRATCH if card is None else card.sha256
    return Pretraining(config, slices, TrainingState(network, optimizer), sha256, chosen, card)


def must_have_pictures(config: PretrainConfig, pictures: int) -> None:
    """Refuse a pretext that compares pictures where there are too few of them to compare.

    Args:
        config: what is trained, and how.
        pictures: that are learnt from.

    Raises:
        UsageError: when a picture would be told from itself at every turn.
    """
    shortage = config.pretext.shortage(pictures, config.training.batch_size)
    if shortage:
        raise UsageError(f"pretext.kind {config.pretext.kind}: {shortage}.")


def must_have_whole_batches(config: PretrainConfig, processes: int) -> None:
    """Refuse to share the batches of a pretext that compares their pictures.

    Raises:
        UsageError: when there are several processes.
    """
    if config.pretext.needs_whole_batch and processes > 1:
        raise UsageError(
            f"pretext.kind {config.pretext.kind} compares the pictures of a batch with each other, "
            f"and {processes} processes would each see a part of it: use one device."
        )
