"""The attack finds what makes the answer worse, and never leaves its bound."""

from __future__ import annotations

import numpy as np
import pytest

from covidssl.altering import cut, logit_of
from covidssl.hounsfield import Pixels
from covidssl.robustness.attack import Attack, attacked, attacked_logit
from tests.robustness.scans import KEY, card, chest, model, picture

RULES = ("mean", "top_third", "attention", "whole_volume")


def loss(logit: float, positive: bool) -> float:
    return float(np.logaddexp(0, -logit if positive else logit))


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("rule", RULES)
def test_attack_raises_the_loss_within_its_bound(rule: str, positive: bool) -> None:
    of = model(card(Pixels.HU, rule, 8 if rule == "whole_volume" else None))
    scan = chest()
    frames = cut(of, scan).frames
    clean = logit_of(of, scan)
    bound = Attack(5.0, 4).bound_unit(of.card.frame)
    assert bound == pytest.approx(5 / 1400)
    found = attacked(of, frames, positive, Attack(5.0, 4), KEY)
    assert loss(found.logit, positive) > loss(clean, positive)
    delta = found.unit[:, 0] - frames.astype(np.float32) / 65535
    assert np.abs(delta).max() <= bound * (1 + 1e-4)
    assert np.abs(delta).max() > 0.5 * bound
    assert found.unit.min() >= 0
    assert found.unit.max() <= 1


def test_wider_bounds_do_more_harm_and_descent_more_than_its_start() -> None:
    of, scan = model(card()), chest()
    harm = [
        loss(attacked_logit(of, scan, True, Attack(bound, 6), KEY), True)
        for bound in (2.0, 10.0, 40.0)
    ]
    assert harm == sorted(harm)
    frames = cut(of, scan).frames
    clean = loss(logit_of(of, scan), True)
    # The start alone is noise within the bound: it must do far less than what is sought.
    noise = np.random.default_rng(0).uniform(-1, 1, frames.shape) * 10 / 1400 * 65535
    noisy = np.clip(frames + noise, 0, 65535).astype(np.uint16)
    with_noise = loss(attacked(of, noisy, True, Attack(1e-6, 1), KEY).logit, True)
    assert harm[1] - clean > 3 * abs(with_noise - clean)


def test_attack_depends_on_its_key_alone() -> None:
    of, scan, attack = model(card()), chest(), Attack(5.0, 2)
    first, again, other = (
        attacked_logit(of, scan, True, attack, key) for key in (KEY, KEY, (*KEY, 1))
    )
    assert first == again != other


def test_bound_of_a_network_of_grey_slices_is_in_grey_levels() -> None:
    of = model(card(Pixels.WINDOWED))
    assert Attack(2.0, 3).bound_unit(of.card.frame) == pytest.approx(2 / 255)
    scan = picture()
    assert attacked_logit(of, scan, True, Attack(2.0, 3), KEY) < logit_of(of, scan)


def test_network_is_left_as_it_was() -> None:
    of, scan = model(card()), chest()
    before = {name: weights.clone() for name, weights in of.classifier.state_dict().items()}
    attacked_logit(of, scan, False, Attack(5.0, 2), KEY)
    after = of.classifier.state_dict()
    assert all((before[name] == after[name]).all() for name in before)
    assert all(weights.grad is None for weights in of.classifier.parameters())
