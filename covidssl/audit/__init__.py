"""What a labelled dataset gives away: duplicates, patients in file order, shortcuts to the label.

Before anything is trained, trivial models that cannot know disease are held against the labels,
under every way to split. What they reach is what a number on this dataset may not be credited for.
"""

from covidssl.audit.encoder import encoder_features
from covidssl.audit.page import write_page
from covidssl.audit.proposals import write_proposals
from covidssl.audit.seen import see
from covidssl.audit.study import Audit, Given, audit_dataset

__all__ = [
    "Audit",
    "Given",
    "audit_dataset",
    "encoder_features",
    "see",
    "write_page",
    "write_proposals",
]
