"""The pages of a store: all scans, the most suspicious first, whatever they are called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from covidssl.manifest import ManifestRow
from covidssl.qc import write_page

HOSTILE = '<script>alert(1)</script>/"onerror="x\' javascript:&amp;.png'


class Read(HTMLParser):
    """Tags of a page with their attributes, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def row(scan: str, status: str = "ok", **more: object) -> ManifestRow:
    known: dict[str, object] = {"verdict": "", "format": "nifti"}
    return ManifestRow(scan, status, **(known | more))  # type: ignore[arg-type]


def pictures(folder: Path, rows: Sequence[ManifestRow]) -> dict[str, Path]:
    return {row.scan: folder / "qc" / f"{place:04}.png" for place, row in enumerate(rows)}


def names(page: Read) -> list[str | None]:
    return [image["alt"] for image in page.all("img")]


def test_the_most_suspicious_come_first(tmp_path: Path) -> None:
    order = ["failed", "flagged", "dropped", "repaired", "warned", "ok", "passed_over"]
    rows = [row(f"scan of {status}", status) for status in sorted(order)]
    page = Read(write_page(tmp_path, rows, pictures(tmp_path, rows)))
    assert names(page) == [f"scan of {status}" for status in order]


def test_a_card_says_verdict_repairs_and_numbers(tmp_path: Path) -> None:
    numbers = {
        "lung_ml": 4321.0, "left_right": 0.87, "slices": 60, "height": 512, "width": 500,
        "slices_with_lung": 48, "spacing_z_mm": 5.0, "spacing_y_mm": 0.7, "spacing_x_mm": 0.8,
    }  # fmt: skip
    scan = row(
        "a", "repaired", verdict="odd", repairs="tilt of 12 degrees sheared back",
        code="gantry_tilt;padding", pixels="hu", **numbers,
    )  # fmt: skip
    text = Read(write_page(tmp_path, [scan], {})).text
    for said in (
        "odd", "tilt of 12 degrees sheared back", "gantry tilt, padding", "4.32 litres", "0.87",
        "48 of 60", "500 × 512 × 60", "0.8 × 0.7 × 5 mm", "nifti, hu",
    ):  # fmt: skip
        assert said in text


def test_counts_link_to_the_first_scan_of_their_kind(tmp_path: Path) -> None:
    rows = [row(f"{i}", code="padding") for i in range(700)]
    rows += [row("x", "failed", code="mixed;padding"), row("y", "passed_over")]
    first = write_page(tmp_path, rows, {})
    links = {
        tuple(re.findall(r">([^<>]+)</a></td><td class=\"count\">(\d+)", line)[0]): target
        for line in first.read_text().splitlines()
        if 'class="count"' in line
        for target in re.findall(r'href="([^"]+)"', line)
    }
    assert links["failed", "1"] == "qc.html#scan-0"
    assert links["ok", "700"] == "qc.html#scan-1"
    assert links["passed over", "1"] == "qc-2.html#scan-701"
    assert links["padding", "701"] == "qc.html#scan-0"
    assert 'id="scan-701"' in (tmp_path / "qc-2.html").read_text()


def test_a_large_store_is_spread_over_pages_that_hold_every_scan_once(tmp_path: Path) -> None:
    rows = [row(f"{i:05}", "failed" if i % 7 == 0 else "ok") for i in range(1234)]
    first = write_page(tmp_path, rows, pictures(tmp_path, rows))
    pages = [Read(tmp_path / name) for name in ("qc.html", "qc-2.html", "qc-3.html")]
    assert first.name == "qc.html"
    assert [len(names(page)) for page in pages] == [500, 500, 234]
    assert sorted(str(name) for page in pages for name in names(page)) == [r.scan for r in rows]
    for page in pages:
        for link in page.all("a"):
            target, _, anchor = str(link["href"]).partition("#")
            assert not anchor or f'id="{anchor}"' in (tmp_path / target).read_text()
            assert (tmp_path / target).is_file()


def test_pages_of_a_larger_store_before_are_taken_away(tmp_path: Path) -> None:
    write_page(tmp_path, [row(str(i)) for i in range(1001)], {})
    kept = tmp_path / "qc-mine.html"
    kept.write_text("mine")
    write_page(tmp_path, [row(str(i)) for i in range(501)], {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "qc-2.html", "qc-mine.html", "qc.html",
    ]  # fmt: skip


def test_hostile_names_and_verdicts_stay_text(tmp_path: Path) -> None:
    scan = row(HOSTILE, "failed", verdict=HOSTILE, repairs=HOSTILE, code="<b>")
    odd = tmp_path / "qc" / "#?<odd> 100%.png"
    page = Read(write_page(tmp_path, [scan], {HOSTILE: odd}))
    assert not page.all("script")
    assert not page.all("b")
    (image,) = page.all("img")
    assert image["alt"] == HOSTILE
    assert set(image) == {"src", "alt", "loading", "decoding"}
    assert unquote(str(image["src"])) == "qc/#?<odd> 100%.png"
    assert page.text.count(HOSTILE) == 3


def test_a_page_fetches_nothing_but_the_pictures_beside_it(tmp_path: Path) -> None:
    rows = [row("a"), row("b")]
    path = write_page(tmp_path, rows, pictures(tmp_path, rows))
    content, page = path.read_text(), Read(path)
    assert {image["src"] for image in page.all("img")} == {"qc/0000.png", "qc/0001.png"}
    assert all(image["loading"] == "lazy" for image in page.all("img"))
    assert "://" not in content
    assert "url(" not in content
    assert not page.all("script") + page.all("link") + page.all("iframe")
    (policy,) = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert policy == (
        "default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'; base-uri 'none'; "
        "form-action 'none'"
    )


def test_a_page_names_its_use_and_no_place_or_identifier(tmp_path: Path) -> None:
    scan = row("a", patient="patient 77", series="1.2.3.77", fingerprint="f" * 64)
    page = Read(write_page(tmp_path, [scan], {"a": tmp_path / "qc" / "a.png"}))
    assert "research only" in page.text
    content = (tmp_path / "qc.html").read_text()
    assert str(tmp_path) not in content
    assert "77" not in content


def test_scans_are_shown_by_status_without_script(tmp_path: Path) -> None:
    content = write_page(tmp_path, [row("a"), row("b", "failed")], {}).read_text()
    for status in ("ok", "failed"):
        assert f'id="only-{status}"' in content
        assert f"body:has(#only-{status}:checked) article:not(.{status})" in content
    assert 'id="only-dropped"' not in content


def test_an_empty_store_has_a_page(tmp_path: Path) -> None:
    assert "0 scans" in Read(write_page(tmp_path, [], {})).text
