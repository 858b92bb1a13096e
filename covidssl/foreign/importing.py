"""A foreign state dict into an encoder: what matches is taken, what is missed is drawn and said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any, NamedTuple

import torch

from covidssl.errors import WeightsError
from covidssl.foreign.first_layer import IMAGENET, Seen, fold
from covidssl.foreign.layouts import Layout
from covidssl.foreign.stated import NOTHING, Stated
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.networks.plan import EncoderPlan, Kind
from covidssl.randomness import initial_weights

_COUNTER = ".num_batches_tracked"  # not in files from before 2018, and no weight
_SHORTCUT = re.compile(r"net\.layer[234]\.0\.downsample\.[01]\.\w+")
_NORM_EPS = 1e-5
_LEAST = 0.5  # of the tensors, and of the numbers in them, must come from the file


class Imported(NamedTuple):
    """An encoder of foreign weights.

    Attributes:
        encoder: with the weights.
        matched: the encoder's tensors that were taken from the file.
        drawn: its tensors that the file does not hold, or in another shape, drawn from the seed.
        left: the file's tensors that an encoder has no place for (a last layer, a decoder).
        written: its tensors that say what the foreign network did without any (MedicalNet's
            shortcuts of type A).
    """

    encoder: Encoder
    matched: tuple[str, ...]
    drawn: tuple[str, ...]
    left: tuple[str, ...]
    written: tuple[str, ...] = ()


def import_encoder(
    tensors: Mapping[str, torch.Tensor],
    layout: Layout,
    kind: Kind | None,
    seed: int,
    what: str,
    stated: Stated = NOTHING,
) -> Imported:
    """An encoder of a foreign state dict, with the norms that it was taught with.

    Args:
        tensors: the foreign state dict, names without wrappers.
        layout: whose names they are.
        kind: of encoder; None for the layout's kind that fits best.
        seed: of what the file does not hold.
        what: the file, for messages.
        stated: what is said beside the file: how the network saw grey, and in how many groups its
            norms are.

    Raises:
        WeightsError: for a state dict of another architecture or layout, for one of which fewer
            than half of the encoder's tensors or numbers could be taken, and for numbers that no
            training gives.
    """
    if kind is not None and kind not in layout.kinds:
        raise WeightsError(f"{what}: of this layout are {', '.join(layout.kinds)}; not '{kind}'.")
    renamed = _renamed(tensors, layout, what)
    kinds = (kind,) if kind is not None else layout.kinds
    norm = _norm_of(renamed, stated, what)
    plans = [
        EncoderPlan.model_validate({"kind": k, "dimensions": layout.dimensions, **norm})
        for k in kinds
    ]
    fits = [_fit(plan, renamed, layout, stated) for plan in plans]
    best = max(fits, key=lambda fit: (fit.share, not fit.surplus))
    _must_fit(best, layout, what)
    left = tuple(sorted(name for name in tensors if layout.name_of(name) is None))
    return _filled(best, renamed, left, seed, what)


def _renamed(
    tensors: Mapping[str, torch.Tensor], layout: Layout, what: str
) -> dict[str, torch.Tensor]:
    """Tensors by the encoder's names, their axes in its order."""
    sources: dict[str, str] = {}
    for name in tensors:
        own = layout.name_of(name)
        if own is None:
            continue
        if own in sources:
            raise WeightsError(
                f"{what}: '{sources[own]}' and '{name}' are two names of one tensor. Take one of "
                f"them out, or fetch the file again."
            )
        sources[own] = name
    found = {own: tensors[name] for own, name in sources.items()}
    if layout.axes is None:
        return found
    filters = len(layout.axes)
    return {n: t.permute(layout.axes) if t.ndim == filters else t for n, t in found.items()}


def _norm_of(tensors: Mapping[str, torch.Tensor], stated: Stated, what: str) -> dict[str, Any]:
    """The norms of a network: GroupNorm keeps no running statistics."""
    if not tensors or any(name.endswith(("running_mean", "running_var")) for name in tensors):
        return {"norm": "batch"}
    if stated.covidssl.groups is None:
        raise WeightsError(
            f"{what}: its norms have no running statistics, so they are no BatchNorm; in how many "
            f"groups they are, no file of weights says. Expected BatchNorm, or what `covidssl "
            f"export --format timm` writes, with its config.json beside it."
        )
    return {"norm": "group", "groups": stated.covidssl.groups}


class _Fit(NamedTuple):
    """How a state dict fits an encoder: names of tensors, the encoder's own.

    `share` of the encoder's numbers are in tensors that match: norms, which are most of the tensors
    and the same in 2D and 3D, hold few of them.
    """

    plan: EncoderPlan
    matched: Sequence[str]
    missing: Sequence[str]
    shapes: Sequence[str]
    surplus: Sequence[str]
    share: float
    seen: Seen | None

    @property
    def wanted(self) -> int:
        """How many tensors the encoder has, counters aside."""
        return len(self.matched) + len(self.missing) + len(self.shapes)


def _fit(
    plan: EncoderPlan, tensors: Mapping[str, torch.Tensor], layout: Layout, stated: Stated
) -> _Fit:
    with torch.device("meta"):
        wanted = {name: tuple(t.shape) for name, t in build_encoder(plan).state_dict().items()}
    first, (outputs, _, *filters) = next(iter(wanted.items()))
    seen = layout.seen
    said = stated.seen
    if seen is not None and said is not None and _inputs(tensors, first) == len(said.mean):
        seen = said
    if seen is not None:
        wanted[first] = (outputs, len(seen.mean), *filters)
    weights = {name for name in wanted if not name.endswith(_COUNTER)}
    there = sorted(weights & tensors.keys())
    matched = [name for name in there if tuple(tensors[name].shape) == wanted[name]]
    numbers = {name: prod(wanted[name]) for name in weights}
    share = sum(numbers[name] for name in matched) / sum(numbers.values())
    return _Fit(
        plan,
        matched,
        sorted(weights - tensors.keys()),
        [
            f"{name} is {tuple(tensors[name].shape)}, expected {wanted[name]}"
            for name in there
            if name not in matched
        ],
        sorted(tensors.keys() - wanted.keys()),
        share,
        seen,
    )


def _inputs(tensors: Mapping[str, torch.Tensor], first: str) -> int:
    """Channels that the first layer takes; 0 where there is none."""
    return tensors[first].shape[1] if first in tensors and tensors[first].ndim > 1 else 0


def _must_fit(fit: _Fit, layout: Layout, what: str) -> None:
    differs = fit.missing or fit.shapes
    enough = fit.share >= _LEAST and len(fit.matched) >= _LEAST * fit.wanted
    if enough and not fit.surplus and not (layout.whole and differs):
        return
    reasons = [
        f"{len(names)} {kind} (first: {names[0]})"
        for kind, names in (
            ("missing", fit.missing),
            ("of another shape", fit.shapes),
            ("that it has no place for", fit.surplus),
        )
        if names
    ]
    first = "net.features.conv0.weight" if fit.plan.kind == "densenet121" else "net.conv1.weight"
    if layout.seen is IMAGENET and [name.split()[0] for name in fit.shapes] == [first]:
        raise WeightsError(
            f"{what}: {fit.shapes[0]}. Three channels (RGB) are expected, or one with a "
            f"config.json beside the file that says its mean and std (timm's pretrained_cfg): "
            f"without them nobody knows how it saw a grey value. Nothing was written."
        )
    raise WeightsError(
        f"{what}: these tensors are not those of a {fit.plan.dimensions}D {fit.plan.kind} in this "
        f"layout: {len(fit.matched)} of {fit.wanted} match ({fit.share:.0%} of the "
        f"numbers); {'; '.join(reasons)}. Nothing was written. "
        f"Give the --layout and --kind of the network that the file was saved from; this layout "
        f"has {', '.join(layout.kinds)}."
    )


def _filled(
    fit: _Fit,
    tensors: Mapping[str, torch.Tensor],
    left: tuple[str, ...],
    seed: int,
    what: str,
) -> Imported:
    with initial_weights(seed):
        encoder = build_encoder(fit.plan)
    own = encoder.state_dict()
    missed = set(own) - set(fit.matched) - {name for name in own if name.endswith(_COUNTER)}
    for name in fit.matched:
        own[name] = _sound(name, tensors[name], what).to(own[name].dtype)
    if fit.seen is not None and next(iter(own)) in fit.matched:
        _fold_first(own, fit.seen, what)
    # Those of a bottleneck are of type B in every file, and layer 1 has one too.
    written = _identity_shortcuts(own, missed) if fit.plan.kind == "resnet18" else ()
    encoder.load_state_dict(own, strict=True)
    drawn = tuple(sorted(missed - set(written)))
    return Imported(encoder.eval(), tuple(fit.matched), drawn, left, written)


def _sound(name: str, tensor: torch.Tensor, what: str) -> torch.Tensor:
    """A tensor as it may come out of a training, in single precision."""
    values = tensor.float()
    if not tensor.is_floating_point():
        wrong = f"holds whole numbers ({tensor.dtype}): the file was quantised. Take the one before"
    elif not torch.isfinite(values).all():
        wrong = (
            "holds numbers that are not finite. The training that wrote it has failed; take an "
            "earlier file"
        )
    elif name.endswith("running_var") and (values < 0).any():
        wrong = "holds a variance below 0. The file is damaged; fetch it again"
    else:
        return values
    raise WeightsError(f"{what}: '{name}' {wrong}.")


def _fold_first(own: dict[str, torch.Tensor], seen: Seen, what: str) -> None:
    """Fold the first convolution; its constant goes into its bias, or into the norm behind it."""
    names = list(own)
    first, rest = names[0], names[1:]
    own[first], constant = fold(own[first], seen)
    bias = first.removesuffix("weight") + "bias"
    if bias in own:
        own[bias] = own[bias] + constant
        return
    mean = next((name for name in rest if name.endswith("running_mean")), None)
    if mean is None:
        if constant.abs().max() > 0:
            raise WeightsError(
                f"{what}: its first layer is followed by GroupNorm, into which its mean "
                f"{list(seen.mean)} cannot be folded. Expected one channel with mean 0.5."
            )
        return
    own[mean] = own[mean] - constant


def _identity_shortcuts(own: dict[str, torch.Tensor], missed: set[str]) -> tuple[str, ...]:
    """Shortcuts of type A (He et al. 2015: subsampling, new channels 0), as 1 x 1 convolutions.

    MedicalNet's ResNet-18 has no tensors for them, since there is nothing to learn in them.
    """
    shortcuts = sorted(name for name in own if _SHORTCUT.fullmatch(name))
    written = [name for name in shortcuts if name in missed]
    if written != [name for name in shortcuts if not name.endswith(_COUNTER)]:
        return ()
    for name in written:
        shape = own[name].shape
        if len(shape) > 1:
            own[name] = torch.eye(shape[0], shape[1]).view(shape)
        elif name.endswith("running_var"):
            own[name] = torch.full(shape, 1.0 - _NORM_EPS)  # the norm adds it, and divides by 1
        else:
            own[name] = torch.full(shape, float(name.endswith("weight")))
    return tuple(written)
