"""The tables of `pipelines.lesion_realism`, in Markdown, and their place in the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covidssl.files import write_text
from covidssl.realism.study import PERCENTILES

BEGIN, END = "<!-- realism:begin -->", "<!-- realism:end -->"
ATTRIBUTION = (
    "Slices: MedSeg, H. B. Jenssen and T. Sakinis, from Radiopaedia, "
    "CC BY-NC-SA 3.0 (doi 10.6084/m9.figshare.13521509.v2)."
)
_COLUMNS = {
    "inside": "inside, HU",
    "ring": "ring, HU",
    "edge_hu_per_mm": "edge, HU/mm",
    "edge_width_mm": "edge width, mm",
    "diameter_mm": "diameter, mm",
    "texture_sd_hu": "texture SD, HU",
    "spectrum_slope": "spectrum slope",
    "depth_mm": "depth, mm",
}
_PIXELS = ("inside", "ring")
_ROWS = {
    "diameter_mm": "equivalent diameter, mm",
    "inside_pixels": "pixels inside, HU",
    "ring_pixels": "pixels of the ring 2 to 8 mm out, HU",
    "edge_hu_per_mm": "slope across the border, HU/mm",
    "edge_width_mm": "width of the border, mm",
    "texture_sd_hu": "standard deviation inside, HU",
    "spectrum_slope": "slope of the power spectrum",
    "depth_mm": "mean depth under the pleura, mm",
    "posterior": "place from front (0) to back (1)",
}


_ELSEWHERE = (
    "A sheet of real and pseudo patches in one window, `lesion-realism.png`, is written beside the "
    "results; it holds pixels of those scans, whose licence is not this project's, and is not here."
)


def tables(results: Mapping[str, Any], figure: str, sheet: str = "") -> str:
    """All tables with what is needed to read them, as Markdown.

    Args:
        results: as in `realism.json`.
        figure: path of the figure of distributions, relative to the page.
        sheet: path of the sheet of patches; without one the text says where it is to be found.
    """
    real = results["real"]
    cases = real["cases"].items()
    counts = "; ".join(
        f"{name}: {c['lesions']} lesions in {c['slices']} slices of {c['blocks']} blocks"
        for name, c in cases
    )
    return "\n\n".join(
        [
            _intro(counts, results["settings"]),
            _distance_table(results),
            f"The same for the dense part of both sides (above {real['dense_hu']:.0f} HU after "
            "smoothing by 2 mm, the density that best divides the marked lesions from what is "
            "about them), since a radiologist's mask that leaves faint ground glass out is no "
            "measure of a ground-glass preset:",
            _distance_table(results, "normal_dense"),
            _auroc_intro(real),
            _auroc_table(results),
            "What gives them away, same slices, dense part: AUROC of each descriptor alone, above "
            "0.5 where pseudo-lesions have more of it.",
            _alone_table(results),
            "Percentiles of the marked lesions, and of `covid` in normal lung:",
            _percentile_table(results),
            f"![Distributions]({figure})",
            f"![Patches in one window]({sheet})" if sheet else _ELSEWHERE,
            ATTRIBUTION,
        ]
    )


def fill(page: Path, text: str) -> None:
    """Put text between the two markers of a page; a page without them gets both at its end."""
    old = page.read_text(encoding="utf-8") if page.is_file() else "# Pseudo-lesions\n"
    if BEGIN not in old or END not in old:
        old = f"{old.rstrip()}\n\n{BEGIN}\n{END}\n"
    before, rest = old.split(BEGIN, 1)
    after = rest.split(END, 1)[1]
    write_text(page, f"{before}{BEGIN}\n{text}\n{END}{after}")


def _intro(counts: str, settings: Mapping[str, Any]) -> str:
    return (
        "Real lesions are the marked regions of the design cases 1 and 3 "
        f"({counts}); pseudo-lesions are drawn into the normal lungs of case 6 at the same slice "
        f"levels, {settings['draws']} draws for each of those slices. The values of these scans "
        "are not HU: every slice is put to nominal HU by its own aerated lung (-850) and soft "
        "tissue (+40); both lungs together are taken for 270 mm wide. **Two diseased cases are "
        "few**: intervals (95 %, resampling blocks of neighbouring slices within a case) say how "
        "steady a number is for these two, not how other patients would differ. Resampling "
        "moves a distance up; the lower ends are corrected for that (covidssl/realism/"
        "two_sample.py). Cases 2, 4 and 7 were not opened.\n\n"
        "Wasserstein distance to the real lesions, smaller is closer. The first row, "
        "real case 1 against real case 3, is the scale: nothing needs to be closer."
    )


def _distance_table(results: Mapping[str, Any], view: str = "normal") -> str:
    floor = results["real"]["one_case_against_the_other"]["distances"]
    rows = [] if view != "normal" else [["case 1 against case 3", "", *_distances(floor)]]
    for name, found in results["presets"].items():
        own = found[view]
        rows.append([f"`{name}`", str(own["lesions"]), *_distances(own["distances"])])
    return _markdown(["", "lesions", *_COLUMNS.values()], rows)


def _auroc_intro(real: Mapping[str, Any]) -> str:
    between = _estimate(real["one_case_against_the_other"]["auroc"]["net"]["blocks"], 2)
    return (
        "Classifier two-sample test: AUROC of a small network on patches (48 pixels, some 66 mm) "
        "and of a random forest on the descriptors, which tell pseudo from real; 0.5 is perfect. "
        "*Other scan*: pseudo-lesions in case 6, so that the scan may give them away; how far it "
        "does is the row of lung without any lesion. *Same slices*: pseudo-lesions in the slices "
        "of the real ones, at least 20 mm away. Held out are blocks of neighbouring slices, or "
        "whole cases. Between the two real cases the network reaches "
        f"{between} (blocks): no preset can be asked for less than real lesions of two people."
    )


def _auroc_table(results: Mapping[str, Any]) -> str:
    header = ["", "held out", "other scan: network", "forest", "same slices: network", "forest"]
    header += ["same slices, dense part: network", "forest"]
    control = results["real"]["lung_without_lesion"]["auroc"]
    rows = []
    for folding in ("blocks", "cases"):
        own = [_estimate(control[judge][folding], 2) for judge in ("net", "forest")]
        rows.append(["no lesion at all", folding, *own, "", "", "", ""])
    for name, found in results["presets"].items():
        for folding in ("blocks", "cases"):
            row = [f"`{name}`" if folding == "blocks" else "", folding]
            for view in ("normal", "beside", "beside_dense"):
                auroc = found[view]["auroc"]
                row += [_estimate(auroc[judge][folding], 2) for judge in ("net", "forest")]
            rows.append(row)
    return _markdown(header, rows)


def _alone_table(results: Mapping[str, Any]) -> str:
    names = {"inside_hu": "inside", "ring_hu": "ring"}
    names |= {name: words.split(",")[0] for name, words in _COLUMNS.items() if name not in _PIXELS}
    rows = [
        [f"`{name}`", *(_share(found["beside_dense"]["alone"][column]) for column in names)]
        for name, found in results["presets"].items()
    ]
    return _markdown(["", *names.values()], rows)


def _share(value: float | None) -> str:
    return "too few" if value is None else f"{value:.2f}"


def _percentile_table(results: Mapping[str, Any]) -> str:
    columns = {f"real {n}": c["percentiles"] for n, c in results["real"]["cases"].items()}
    shown = "covid" if "covid" in results["presets"] else next(iter(results["presets"]), None)
    if shown is not None:
        columns[f"`{shown}`"] = results["presets"][shown]["normal"]["percentiles"]
    picked = [PERCENTILES.index(at) for at in (10, 50, 90)]
    rows = []
    for name, words in _ROWS.items():
        cells = []
        for values in columns.values():
            own = values[name]
            cells.append("-" if own is None else " / ".join(_number(own[k]) for k in picked))
        rows.append([words, *cells])
    return _markdown(["10 / 50 / 90 %", *columns], rows)


def _distances(found: Mapping[str, Any]) -> list[str]:
    return [_estimate(found[name]) for name in _COLUMNS]


def _estimate(estimate: Sequence[float] | None, digits: int | None = None) -> str:
    if estimate is None:
        return "too few"
    value, low, high = (
        _number(number) if digits is None else f"{number:.{digits}f}" for number in estimate
    )
    return f"{value} ({low} to {high})"


def _number(value: float) -> str:
    return (
        f"{value:.0f}"
        if abs(value) >= 20
        else f"{value:.1f}"
        if abs(value) >= 2
        else f"{value:.2f}"
    )


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
