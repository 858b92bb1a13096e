"""The labelled set that a pretraining is probed on, read before anything is written."""

from __future__ import annotations

from torch import nn

from covidssl.datasets import read_dataset
from covidssl.errors import UsageError
from covidssl.experiments import PretrainConfig
from covidssl.networks.unet import RestorationUNet
from covidssl.pretext import PerlinPretext
from covidssl.progress import track
from covidssl.quality import ProbeSet, load_probe_set, metric_of


def labelled_set(config: PretrainConfig, network: nn.Module, reads: bool) -> ProbeSet | None:
    """The labelled set to probe on; None where there is none, or where it is only looked at.

    Args:
        config: what is trained, and how.
        network: that learns.
        reads: whether this process reads the scans: of several the first one alone. The others
            refuse what can be seen without a picture.

    Raises:
        CovidsslError: when the set or the rule that decides cannot be used.
    """
    plan = config.quality
    if plan.labelled is not None and plan.every is None:
        raise UsageError(
            "There is a labelled set to probe on (--probe-data), and quality.every is null: give "
            "the steps between evaluations, such as --set quality.every=200."
        )
    if plan.every is None:
        return None
    maps = isinstance(network, RestorationUNet) and network.lesion_map != "none"
    metric_of(plan, plan.labelled is not None, lifts_lesions(config, network), maps)
    if plan.labelled is None:
        return None
    dataset = read_dataset(plan.labelled, plan.positive_class)
    return load_probe_set(dataset, plan, config.frame, track) if reads else None


def lifts_lesions(config: PretrainConfig, network: nn.Module) -> bool:
    """Whether what the network restores are lesions; those of a comparator are none."""
    return isinstance(network, RestorationUNet) and isinstance(config.pretext, PerlinPretext)
