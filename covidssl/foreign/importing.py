"""A foreign state dict into an encoder: what matches is taken, what is missed is drawn and said."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

import torch

from covidssl.errors import WeightsError
from covidssl.foreign.first_layer import Seen, fold
from covidssl.foreign.layouts import Layout
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
    tensors: Mapping[str, torch.Tensor], layout: Layout, kind: Kind | None, seed: int, what: str
) -> Imported:
    """An encoder of a foreign state dict, with BatchNorm as it was taught.

    Args:
        tensors: the foreign state dict, names without wrappers.
        layout: whose names they are.
        kind: of encoder; None for the layout's kind that fits best.
        seed: of what the file does not hold.
        what: the file, for messages.

    Raises:
        WeightsError: for a state dict of another architecture or layout, for one of which fewer
            than half of the encoder's tensors or numbers could be taken, and for numbers that are
            not finite.
    """
    if kind is not None and kind not in layout.kinds:
        raise WeightsError(f"{what}: of this layout are {', '.join(layout.kinds)}; not '{kind}'.")
    named = {layout.name_of(name) or "": name for name in tensors}
    renamed = {own: tensors[foreign] for own, foreign in named.items() if own}
    kinds = (kind,) if kind is not None else layout.kinds
    fits = [_fit(EncoderPlan(kind=k, dimensions=layout.dimensions, norm="batch"), renamed, layout)
            for k in kinds]  # fmt: skip
    best = max(fits, key=lambda fit: (fit.share, not fit.surplus))
    _must_fit(best, layout, what)
    left = tuple(sorted(name for name in tensors if layout.name_of(name) is None))
    return _filled(best, renamed, layout, left, seed, what)


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

    @property
    def wanted(self) -> int:
        """How many tensors the encoder has, counters aside."""
        return len(self.matched) + len(self.missing) + len(self.shapes)


def _fit(plan: EncoderPlan, tensors: Mapping[str, torch.Tensor], layout: Layout) -> _Fit:
    with torch.device("meta"):
        wanted = {name: tuple(t.shape) for name, t in build_encoder(plan).state_dict().items()}
    if layout.seen is not None:
        first, (outputs, _, *filters) = next(iter(wanted.items()))
        wanted[first] = (outputs, len(layout.seen.mean), *filters)
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
    )


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
    layout: Layout,
    left: tuple[str, ...],
    seed: int,
    what: str,
) -> Imported:
    with initial_weights(seed):
        encoder = build_encoder(fit.plan)
    own = encoder.state_dict()
    missed = set(own) - set(fit.matched) - {name for name in own if name.endswith(_COUNTER)}
    for name in fit.matched:
        values = tensors[name].to(own[name].dtype)
        if not torch.isfinite(values).all():
            raise WeightsError(
                f"{what}: '{name}' holds numbers that are not finite. The training that wrote it "
                f"has failed; take an earlier file."
            )
        own[name] = values
    if layout.seen is not None and next(iter(own)) in fit.matched:
        _fold_first(own, layout.seen)
    # Those of a bottleneck are of type B in every file, and layer 1 has one too.
    written = _identity_shortcuts(own, missed) if fit.plan.kind == "resnet18" else ()
    encoder.load_state_dict(own, strict=True)
    drawn = tuple(sorted(missed - set(written)))
    return Imported(encoder.eval(), tuple(fit.matched), drawn, left, written)


def _fold_first(own: dict[str, torch.Tensor], seen: Seen) -> None:
    """Fold the first convolution; its constant goes into its bias, or into the norm behind it."""
    names = list(own)
    first, rest = names[0], names[1:]
    own[first], constant = fold(own[first], seen)
    bias = first.removesuffix("weight") + "bias"
    if bias in own:
        own[bias] = own[bias] + constant
        return
    mean = next(name for name in rest if name.endswith("running_mean"))
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
