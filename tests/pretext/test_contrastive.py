"""SimCLR and MoCo: their losses by the papers' equations, the views, the queue, the momentum."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from covidssl.networks.plan import EncoderPlan
from covidssl.pretext import MocoPretext, Setting, SimclrPretext
from covidssl.pretext.moco import Compared, MocoNetwork, info_nce
from covidssl.pretext.simclr import nt_xent
from covidssl.pretext.views import Blur, blurred
from covidssl.randomness import torch_generator
from covidssl.training import Share, TrainingPlan
from tests.pretext.pictures import (
    SETTING,
    killed_and_resumed,
    network_of,
    slices,
    state_of,
    teach,
    volumes,
)


def features(n: int, key: int) -> torch.Tensor:
    return normalize(torch.randn((n, 6), generator=torch_generator(key)), dim=1)


def test_nt_xent_is_the_papers_equation_written_out() -> None:
    first, second = features(5, 1), features(5, 2)
    views, costs = torch.cat([first, second]).tolist(), []

    def alike(i: int, j: int) -> float:
        return math.exp(sum(a * b for a, b in zip(views[i], views[j], strict=True)) / 0.3)

    for i in range(10):
        others = sum(alike(i, k) for k in range(10) if k != i)
        costs.append(-math.log(alike(i, (i + 5) % 10) / others))
    assert float(nt_xent(first, second, 0.3)[0]) == pytest.approx(sum(costs) / 10, rel=1e-5)


def test_nt_xent_is_monais() -> None:
    from monai.losses.contrastive import ContrastiveLoss

    first, second = features(7, 1), features(7, 2)
    expected = float(ContrastiveLoss(temperature=0.5)(first, second))
    assert float(nt_xent(first, second, 0.5)[0]) == pytest.approx(expected, rel=1e-5)


def test_who_finds_every_partner_pays_little() -> None:
    same = torch.eye(6)
    loss, found = nt_xent(same, same, 0.05)
    assert float(found) == 1
    assert float(loss) < 1e-6


def test_info_nce_is_the_papers_equation_written_out() -> None:
    compared = Compared(features(4, 1), features(4, 2), features(9, 3))
    costs = []
    for query, key in zip(compared.query, compared.key, strict=True):
        right = math.exp(float(query @ key) / 0.2)
        wrong = sum(math.exp(float(query @ old) / 0.2) for old in compared.queue)
        costs.append(-math.log(right / (right + wrong)))
    assert float(info_nce(compared, 0.2)[0]) == pytest.approx(sum(costs) / 4, rel=1e-5)


def test_two_views_of_a_picture_differ_and_so_do_those_of_another_step() -> None:
    task = SimclrPretext().task(SETTING)
    views, later = (task.examples(slices(), Share(step, 0, 4)) for step in (0, 1))
    assert not torch.equal(views.first, views.second)
    assert not torch.equal(views.first, later.first)
    assert 0 <= float(views.first.min()) <= float(views.first.max()) <= 1


def test_a_blur_takes_the_fine_away_and_keeps_the_mean() -> None:
    unit = torch.rand((3, 1, 64, 64), generator=torch_generator(1))
    always = Blur(chance=1, sigma=(6.0, 7.0))
    smooth = blurred(unit, always, 0, (1,), Share(0, 0, 3))
    assert (smooth.std((1, 2, 3)) < 0.3 * unit.std((1, 2, 3))).all()
    assert torch.allclose(smooth.mean((1, 2, 3)), unit.mean((1, 2, 3)), atol=0.02)


def test_a_blur_is_a_picture_s_own_and_stays_within_its_slices() -> None:
    flat = slices(2).frames.float() / 65535
    deep = flat[:, :, None].expand(-1, -1, 3, -1, -1)
    plan = Blur(chance=1, sigma=(5.0, 9.0))
    of_slices, of_volumes = (blurred(u, plan, 0, (1,), Share(0, 0, 2)) for u in (flat, deep))
    assert torch.allclose(of_volumes[:, :, 1], of_slices, atol=1e-6)
    alone = blurred(flat[1:], plan, 0, (1,), Share(0, 1, 1))
    assert torch.allclose(alone, of_slices[1:], atol=1e-6)


def test_half_of_the_views_are_blurred() -> None:
    unit = torch.rand((400, 1, 16, 16), generator=torch_generator(1))
    smooth = blurred(unit, Blur(sigma=(9.0, 9.0)), 0, (1,), Share(0, 0, 400))
    changed = (smooth != unit).flatten(1).any(1)
    assert float(changed.float().mean()) == pytest.approx(0.5, abs=0.08)


def moco(**more: float) -> MocoNetwork:
    network = network_of(MocoPretext(queue=6, features=4, **more))
    assert isinstance(network, MocoNetwork)
    return network.train()


def pictures(key: int, n: int = 4) -> torch.Tensor:
    return torch.rand((n, 1, 32, 32), generator=torch_generator(key))


def test_the_newest_keys_take_the_places_of_the_oldest() -> None:
    network = moco()
    first = network.queue.clone()
    keys = [network(pictures(0), pictures(k)).key for k in (1, 2)]
    assert int(network.enqueued) == 8
    assert torch.equal(network.queue[:2], keys[1][2:])
    assert torch.equal(network.queue[2:4], keys[0][2:])
    assert torch.equal(network.queue[4:], keys[1][:2])
    assert not torch.equal(network.queue, first)


def test_a_view_is_told_from_the_queue_of_before_its_step() -> None:
    network = moco()
    before = network.queue.clone()
    assert torch.equal(network(pictures(0), pictures(1)).queue, before)


def test_the_key_encoder_starts_where_the_encoder_is_and_follows_slowly() -> None:
    network = moco(momentum=0.9)
    mine, its = (next(part.parameters()) for part in (network.key_encoder, network.encoder))
    with torch.no_grad():
        its.add_(1.0)  # weights that were loaded
    network(pictures(0), pictures(1))
    assert torch.equal(mine, its)
    with torch.no_grad():
        its.add_(1.0)  # a step
    network(pictures(0), pictures(1))
    assert torch.allclose(its - mine, torch.tensor(0.9), atol=1e-5)


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_a_key_is_the_same_whatever_else_is_in_its_batch(norm: str) -> None:
    """Or statistics of the batch would tell which query a key belongs to."""
    plan = EncoderPlan.model_validate({"channels": (8, 8, 16), "norm": norm})
    network = network_of(MocoPretext(queue=6, features=4), plan).train()
    for step in range(5):
        network(pictures(2 * step), pictures(2 * step + 1))
    other = copy.deepcopy(network)
    first, second = pictures(20), pictures(21)
    changed = torch.cat([second[:1], pictures(22)[1:]])
    keys = network(first, second).key, other(first, changed).key
    assert torch.allclose(keys[0][0], keys[1][0], atol=1e-6)
    assert not torch.allclose(keys[0][1], keys[1][1], atol=1e-3)


def test_the_statistics_of_keys_follow_those_of_queries_and_forget_how_they_began() -> None:
    network = moco(momentum=0.99)
    for step in range(60):
        network(pictures(2 * step), pictures(2 * step + 1))
    query, key = (
        dict(part.named_buffers()) for part in (network.projection, network.key_projection)
    )
    for name in ("layers.1.running_mean", "layers.1.running_var"):
        assert not torch.equal(query[name], key[name])
        assert torch.allclose(query[name], key[name], rtol=0.4, atol=0.02), name


def test_no_gradient_reaches_the_key_encoder() -> None:
    network = moco()
    loss, _ = info_nce(network(pictures(0), pictures(1)), 0.2)
    loss.backward()
    assert all(p.grad is None for p in network.key_encoder.parameters())
    assert all(p.grad is not None for p in network.projection.parameters())


def test_looking_at_a_network_moves_neither_queue_nor_key_encoder() -> None:
    network = moco().eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network(pictures(0), pictures(1))
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_a_killed_run_goes_on_with_the_same_queue_and_key_encoder(tmp_path: Path) -> None:
    plan = TrainingPlan(steps=6, batch_size=8, learning_rate=1e-2, warmup_steps=2)
    pretext = MocoPretext(queue=20, features=8)
    whole = state_of(pretext, plan.learning_rate)
    teach(pretext, plan, whole)
    resumed = killed_and_resumed(pretext, plan, tmp_path)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name
    assert int(whole.network.enqueued) == 48  # type: ignore[operator,arg-type]


def test_views_of_volumes_are_volumes() -> None:
    setting = Setting(SETTING.window_hu, 3, 0)
    views = MocoPretext().task(setting).examples(volumes(), Share(0, 0, 2))
    assert views.first.shape == (2, 1, 8, 32, 32)
