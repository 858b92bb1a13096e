"""The network and its optimiser as they learn: compiled, in several processes, or in shards."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch

from covidssl.training.plan import TrainingPlan
from covidssl.training.state import TrainingState

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Wrapped:
    """A state's network and optimiser as Fabric has set them up.

    Attributes:
        network: to call.
        optimizer: to step.
        has_scaler: whether the loss is scaled (16-mixed): steps without finite gradients are then
            part of finding the scale, and are left out.
    """

    def __init__(self, fabric: Fabric, state: TrainingState, plan: TrainingPlan) -> None:
        self.fabric, self.state = fabric, state
        self.has_scaler = plan.precision == "16-mixed"
        self.network, self.optimizer = self._set_up(plan)
        if self.has_scaler and state.scaler:
            fabric.strategy.precision.load_state_dict(state.scaler)

    def step(self) -> None:
        """Take the step, and let the state hold what came of it."""
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.step += 1
        if self.has_scaler:
            self.state.scaler = self.fabric.strategy.precision.state_dict()

    def _set_up(self, plan: TrainingPlan) -> tuple[Any, Any]:
        if plan.compile:
            self.state.network.compile()  # in place: its weights keep their names
        return self.fabric.setup(self.state.network, self.state.optimizer)


class Sharded(Wrapped):
    """Fully sharded (FSDP): a twin of the network learns, in parts on several devices.

    FSDP takes a network's parameters apart, and what watches, validates and keeps a run needs them
    whole. So the parts are gathered after each step into the state of the first process.
    """

    def step(self) -> None:
        super().step()
        from torch.distributed.checkpoint.state_dict import (
            get_model_state_dict,
            get_optimizer_state_dict,
        )

        # Of all processes, since each has a part.
        weights = get_model_state_dict(self.parts, options=_whole())
        kept: dict[str, Any] = get_optimizer_state_dict(
            self.parts, self.optimizer.optimizer, options=_whole()
        )
        if not self.fabric.is_global_zero:
            return
        state = self.state
        state.network.load_state_dict(weights, strict=True)
        found = {
            index: kept["state"][name]
            for index, name in enumerate(_names_in_order(state))
            if name in kept["state"]
        }
        groups = state.optimizer.state_dict()["param_groups"]
        state.optimizer.load_state_dict({"state": found, "param_groups": groups})

    def _set_up(self, plan: TrainingPlan) -> tuple[Any, Any]:
        state, twin = self.state, copy.deepcopy(self.state.network)
        if plan.compile:
            twin.compile()
        parameters, names = dict(twin.named_parameters()), iter(_names_in_order(state))
        groups = [
            {**group, "params": [parameters[next(names)] for _ in group["params"]]}
            for group in state.optimizer.param_groups
        ]
        kind: Any = type(state.optimizer)
        network, optimizer = self.fabric.setup(twin, kind(groups))
        self.parts = network._forward_module
        self._resume(optimizer.optimizer)
        return network, optimizer

    def _resume(self, optimizer: torch.optim.Optimizer) -> None:
        from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict

        kept = self.state.optimizer.state_dict()
        if not kept["state"]:
            return
        names = _names_in_order(self.state)
        entries = {names[index]: entry for index, entry in kept["state"].items()}
        groups = [
            {**group, "params": [names[index] for index in group["params"]]}
            for group in kept["param_groups"]
        ]
        whole: dict[str, Any] = {"state": entries, "param_groups": groups}
        set_optimizer_state_dict(self.parts, optimizer, whole, options=_whole())


def wrap(fabric: Fabric, state: TrainingState, plan: TrainingPlan) -> Wrapped:
    """Set a state's network and optimiser up for the devices of `fabric`."""
    from lightning_fabric.strategies.fsdp import FSDPStrategy

    kind = Sharded if isinstance(fabric.strategy, FSDPStrategy) else Wrapped
    return kind(fabric, state, plan)


def _names_in_order(state: TrainingState) -> list[str]:
    """Names of the optimiser's parameters, in its order."""
    names = {id(parameter): name for name, parameter in state.network.named_parameters()}
    groups = state.optimizer.param_groups
    return [names[id(parameter)] for group in groups for parameter in group["params"]]


def _whole() -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True)
