"""How good an encoder is while it is pretrained: probes on labels, pseudo-lesions without them."""

from covidssl.quality.chosen_on import CHOSEN_ON, ChosenOn, read_chosen_on, write_chosen_on
from covidssl.quality.held_out import HeldOut, hold_out
from covidssl.quality.lesion_set import LesionSet, draw_lesion_set, lesion_quality
from covidssl.quality.plan import QualityPlan
from covidssl.quality.probe_set import ProbeSet, load_probe_set
from covidssl.quality.rule import BEST, BEST_STEP, metric_of
from covidssl.quality.watch import TABLE, QualityWatch, row_at, rows_before

__all__ = [
    "BEST",
    "BEST_STEP",
    "CHOSEN_ON",
    "ChosenOn",
    "TABLE",
    "HeldOut",
    "LesionSet",
    "ProbeSet",
    "QualityPlan",
    "QualityWatch",
    "draw_lesion_set",
    "hold_out",
    "lesion_quality",
    "load_probe_set",
    "metric_of",
    "read_chosen_on",
    "row_at",
    "rows_before",
    "write_chosen_on",
]
