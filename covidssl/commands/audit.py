"""`covidssl audit`: what a labelled dataset gives away, before anything is trained on it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from covidssl.audit import (
    Audit,
    Given,
    audit_dataset,
    encoder_features,
    see,
    write_page,
    write_proposals,
)
from covidssl.datasets import read_dataset
from covidssl.experiments import AuditConfig
from covidssl.files import sha256_of, write_csv, write_json
from covidssl.progress import track
from covidssl.runs import IfExists, RunFolder
from covidssl.splits import read_split_file

log = logging.getLogger(__name__)


class Beside(NamedTuple):
    """What an audit may be given beside the dataset.

    Attributes:
        cache: folder for what was computed.
        splits: a split file to look at as well.
        encoder: weights whose features the order test uses as well.
    """

    cache: Path | None = None
    splits: Path | None = None
    encoder: Path | None = None


NOTHING = Beside()


def main(
    config: AuditConfig,
    data: Path,
    out: Path,
    if_exists: IfExists = "refuse",
    beside: Beside = NOTHING,
) -> Path:
    """Audit a labelled dataset; gives the path of the page.

    Args:
        config: how it is done.
        data: two class folders, or a CSV path,label[,patient][,split].
        out: folder for `audit.json`, `audit.html`, `dropped.csv` and the proposed splits.
        if_exists: what becomes of a folder that is there.
        beside: what else is used.

    Raises:
        CovidsslError: for an output that exists, or data or weights that cannot be used.
    """
    dataset = read_dataset(data, config.positive_class)
    cache, splits, encoder = beside
    assigned = read_split_file(splits, dataset)[0] if splits else None
    page = out / "audit.html"
    with RunFolder(out, "audit", config, if_exists) as run:
        if run.done:
            log.info("%s: finished already.", out)
            return page
        seen = see(dataset, config.most_slices, cache, track)
        run.note_data(dataset=seen.fingerprint, **({"splits": sha256_of(splits)} if splits else {}))
        encoded = None
        if encoder is not None:
            encoded = encoder_features(encoder, seen, config.most_slices, cache, track)
        audit = audit_dataset(dataset, seen, config, Given(assigned, encoded, cache), track)
        _write(audit, out)
        write_page(page, audit)
        alarms = [finding for finding in audit.findings if finding.alarm]
        for finding in alarms:
            log.warning("%s: %s", finding.title, finding.text)
        log.info("%s", audit.verdict)
        run.note(
            summary={
                "scans": len(dataset.scans),
                "dropped": len(seen.dropped),
                "alarms": [finding.code for finding in alarms],
                "splits": [one.kind for one in audit.proposals],
            }
        )
    return page


def _write(audit: Audit, out: Path) -> None:
    dropped = ({"scan": name, "reason": reason} for name, reason in audit.seen.dropped)
    write_csv(out / "dropped.csv", ("scan", "reason"), dropped)
    write_proposals(out, audit.proposals, audit.dataset)
    write_json(out / "audit.json", audit.as_json())
