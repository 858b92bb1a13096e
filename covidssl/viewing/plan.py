"""How a scan that is looked at is read."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from covidssl.hounsfield import Pixels
from covidssl.io import Policy, Reading


class ViewConfig(BaseModel):
    """Configuration of `covidssl view`: as that of `predict`, so that its maps fit.

    Attributes:
        pixels: take the scan for this kind of pixel; None: as its format says.
        policy: `repair` mends what can be mended; `skip` and `strict` refuse it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    pixels: Pixels | None = None
    policy: Policy = Policy.SKIP

    @property
    def reading(self) -> Reading:
        """What the reader is told."""
        return Reading(self.pixels, self.policy)
