"""The exploration as one HTML page: self-contained, no scripts, works offline."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from PIL import Image

from ingestion.rows import Kept
from ingestion.unit_files import write_whole
from photo import open_photo

_THUMBNAIL: Final = 150
_QUALITY: Final = 72

_STYLE: Final = """
:root{--ink:#1d2330;--soft:#5c6577;--line:#d9dde5;--paper:#fff;--panel:#f6f7f9;--bar:#2f6fb7;--warn:#b4540a}
@media(prefers-color-scheme:dark){:root{--ink:#e8ebf1;--soft:#a2abbd;--line:#363d4b;--paper:#14171d;--panel:#1c2028;
--bar:#5b9be0;--warn:#f0a35c}}
*{box-sizing:border-box}body{margin:0 auto;max-width:72rem;padding:2rem 1.25rem 4rem;background:var(--paper);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}h1{font-size:1.7rem;margin:0}
h2{font-size:1.15rem;margin:2.5rem 0 .75rem}
p{margin:.3rem 0;color:var(--soft);max-width:46rem}.tiles{display:grid;gap:.75rem;margin-top:1.5rem;
grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr))}
.tile{background:var(--panel);border-radius:8px;padding:.8rem 1rem}
.tile b{display:block;font-size:1.45rem;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:.85rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}th,td{text-align:right;padding:.3rem .6rem;
border-bottom:1px solid var(--line)}th:first-child,td:first-child{text-align:left}th{font-weight:600;color:var(--soft)}
td.bar{width:45%;text-align:left}.warn td.bar i{background:var(--warn)}
td.bar i{display:block;height:.85rem;min-width:1px;border-radius:2px;background:var(--bar)}
.two{display:grid;gap:0 2.5rem;grid-template-columns:repeat(auto-fit,minmax(20rem,1fr))}
.grid{display:grid;gap:.5rem;grid-template-columns:repeat(auto-fill,minmax(10.5rem,1fr))}figure{margin:0}
figure img{width:100%;height:9.5rem;object-fit:cover;border-radius:4px;background:var(--panel)}
figcaption{font-size:.78rem;color:var(--soft)}.wide{overflow-x:auto}footer{margin-top:3rem;font-size:.8rem;color:var(--soft);
overflow-wrap:anywhere}
"""


def write_page(
    path: Path,
    document: Mapping[str, Any],
    books: Mapping[str, Any],
    samples: Mapping[int, Sequence[Kept]],
    photos: Mapping[str, bytes],
) -> None:
    """Write the page. `photos`: those of `samples` as the shards keep them, by id; absent ones are left out."""
    body = "\n".join(
        (
            _tiles(document, books),
            _books(books),
            _classes(document),
            _grids(samples, photos),
            _quantities(document),
            _skus(document),
            _set_aside(document),
            _photos(document),
            _footer(books),
        )
    )
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>Bin photos: exploration</title><style>{_STYLE}</style></head><body>"
        f"<h1>Bin photos</h1><p>{escape(str(books['settings']['photos_uri']))}</p>{body}</body></html>\n"
    )
    write_whole(path, page.encode())


def _tiles(document: Mapping[str, Any], books: Mapping[str, Any]) -> str:
    published, quantity, skus = document["published"], document["quantity"], document["skus"]
    tiles = (
        (_number(books["listed"]), f"listed, of {_number(published['photos'])} published"),
        (_number(books["kept"]), "kept, with 1 to 5 items"),
        (_number(sum(books["skipped"].values())), "skipped"),
        (_number(sum(books["quarantined"].values())), "quarantined"),
        (_decimal(quantity["mean"]), f"items a bin; {published['mean_quantity']} published"),
        (_number(skus["distinct"]), f"SKUs seen, of {_number(published['skus'])} published"),
    )
    return '<div class="tiles">' + "".join(_tile(value, label) for value, label in tiles) + "</div>"


def _tile(value: str, label: str) -> str:
    return f'<div class="tile"><b>{value}</b><span>{escape(label)}</span></div>'


def _books(books: Mapping[str, Any]) -> str:
    columns = ("listed", "kept", "skipped", "quarantined")
    rows = [("all", [books["listed"], books["kept"], *(sum(books[k].values()) for k in columns[2:])])]
    rows += [(f"split {name}", [line[c] for c in columns]) for name, line in sorted(books["per_split"].items())]
    rows += [(f"count {name}", [line[c] for c in columns]) for name, line in sorted(books["per_class"].items())]
    lines = "".join(
        f"<tr><td>{escape(name)}</td>" + "".join(f"<td>{_number(v)}</td>" for v in values) + "</tr>"
        for name, values in rows
    )
    heads = "".join(f"<th>{c}</th>" for c in ("", *columns))
    return (
        "<h2>The books</h2><p>Listed = kept + skipped + quarantined, on every line; every id has exactly one row.</p>"
        f'<div class="wide"><table><tr>{heads}</tr>{lines}</table></div>'
    )


def _classes(document: Mapping[str, Any]) -> str:
    imbalance = document["imbalance"]
    text = "no photo was kept" if imbalance is None else f"the largest class has {imbalance:.1f} times the smallest"
    splits = document["classes_per_split"]
    tables = "".join(
        f"<div><h2>{escape(split)}</h2>{_bars(counts)}</div>"
        for split, counts in splits.items()
        if any(counts.values())
    )
    head = f"<h2>Photos kept, by count</h2><p>Imbalance: {text}.</p>{_bars(document['classes'])}"
    return f"{head}<div class=two>{tables}</div>"


def _grids(samples: Mapping[int, Sequence[Kept]], photos: Mapping[str, bytes]) -> str:
    parts: list[str] = []
    for count, rows in sorted(samples.items()):
        figures = "".join(_figure(row, photos[row.id]) for row in rows if row.id in photos)
        if figures:
            parts.append(f"<h2>{count} item{'s' if count > 1 else ''}</h2><div class=grid>{figures}</div>")
    return "".join(parts)


def _figure(row: Kept, photo: bytes) -> str:
    image = open_photo(photo, needed_side=_THUMBNAIL)
    image.thumbnail((_THUMBNAIL * 2, _THUMBNAIL), Image.Resampling.BILINEAR)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=_QUALITY)
    data = base64.b64encode(out.getvalue()).decode()
    name = escape(row.id)
    return (
        f'<figure><img src="data:image/jpeg;base64,{data}" alt="bin {name}, recorded count {row.count}">'
        f"<figcaption>{name} · {escape(row.split)}</figcaption></figure>"
    )


def _quantities(document: Mapping[str, Any]) -> str:
    quantity = document["quantity"]
    share = quantity["share_under_ten"]
    histogram = {int(count): number for count, number in quantity["histogram"].items()}
    shown: dict[str, int] = {str(count): histogram[count] for count in sorted(histogram) if count < 20}
    if rest := sum(number for count, number in histogram.items() if count >= 20):
        shown["20 or more"] = rest
    text = "" if share is None else f"{share:.1%} of the bins with a known quantity hold fewer than ten items."
    return f"<h2>Recorded quantity a bin</h2><p>{text}</p>{_bars(shown)}"


def _skus(document: Mapping[str, Any]) -> str:
    skus = document["skus"]
    if not skus["distinct"]:
        return "<h2>SKUs</h2><p>No metadata was read, so no SKU is known.</p>"
    shown = {
        "in one bin": skus["seen_once"],
        "in two": skus["seen_twice"],
        "in 3 to 9": skus["seen_3_to_9"],
        "in 10 or more": skus["seen_10_or_more"],
    }
    most = {sku: times for sku, times in skus["most_seen"] if times > 1}
    text = f"{_number(skus['distinct'])} SKUs in {_number(skus['bins_with_items'])} bins whose items are known."
    table = f"<div><h2>Seen most</h2>{_bars(most)}</div>" if most else ""
    return (
        f"<div class=two><div><h2>SKUs, by how many bins hold them</h2><p>{text}</p>{_bars(shown)}</div>{table}</div>"
    )


def _set_aside(document: Mapping[str, Any]) -> str:
    parts = []
    for fate in ("quarantined", "skipped"):
        reasons = document["set_aside"].get(fate, {})
        table = _bars(reasons, warn=True) if reasons else "<p>None.</p>"
        parts.append(f"<div><h2>{fate.capitalize()}, by reason</h2>{table}</div>")
    examples = "".join(
        f"<tr><td>{escape(reason)}</td><td style=text-align:left>{escape('; '.join(lines))}</td></tr>"
        for reason, lines in sorted(document["quarantine_examples"].items())
    )
    table = (
        f"<div class=wide><table><tr><th>reason</th><th>for example</th></tr>{examples}</table></div>"
        if examples
        else ""
    )
    return f"<div class=two>{''.join(parts)}</div>{table}"


def _photos(document: Mapping[str, Any]) -> str:
    photos = document["source_photos"]
    tables = (
        ("Format", photos["formats"]),
        ("Mode", photos["modes"]),
        ("Width, pixels from", photos["widths_from"]),
        ("Height, pixels from", photos["heights_from"]),
        ("Size, kB from", photos["kilobytes_from"]),
    )
    parts = "".join(f"<div><h2>{title}</h2>{_bars(values)}</div>" for title, values in tables if values)
    text = f"{_number(photos['repeated_content'])} photos repeat the content of another one in their split."
    return f"<h2>Photos as they came</h2><p>{text}</p><div class=two>{parts}</div>"


def _footer(books: Mapping[str, Any]) -> str:
    prints = books["fingerprint"]
    facts = (f"data {prints['data']}", f"code {prints['code']}", f"split rule {books['rule']}")
    return f"<footer>{escape(' · '.join(facts))}</footer>"


def _bars(values: Mapping[str, int], *, warn: bool = False) -> str:
    total, most = sum(values.values()) or 1, max(values.values(), default=0) or 1
    rows = "".join(
        f"<tr><td>{escape(str(name))}</td><td class=bar><i style=width:{100 * value / most:.1f}%></i></td>"
        f"<td>{_number(value)}</td><td>{value / total:.1%}</td></tr>"
        for name, value in values.items()
    )
    return f'<table class="{"warn" if warn else ""}">{rows}</table>'


def _number(value: int) -> str:
    return f"{value:,}"


def _decimal(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
