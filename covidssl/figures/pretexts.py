"""What a pretext shows and what the network makes of it, a row a picture."""

from __future__ import annotations

import io
from collections.abc import Mapping

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def restoration_picture(columns: Mapping[str, torch.Tensor]) -> bytes:
    """A PNG with a row a picture: corrupted, restored, clean, and what was lifted off.

    Args:
        columns: `corrupted`, `restored` and `clean`, (B, 1, [Z,] Y, X) network units each; of a
            volume the slice is shown in which most was changed.
    """
    if columns["clean"].ndim == 5:
        change = (columns["corrupted"] - columns["clean"]).abs().sum((1, 3, 4))
        rows, planes = torch.arange(len(change), device=change.device), change.argmax(dim=1)
        columns = {title: volumes[rows, :, planes] for title, volumes in columns.items()}
    lifted = columns["corrupted"] - columns["restored"]
    return columns_picture(columns, {"lifted off": lifted})


def columns_picture(
    columns: Mapping[str, torch.Tensor], changes: Mapping[str, torch.Tensor] | None = None
) -> bytes:
    """A PNG with a row a picture and a column an entry.

    Args:
        columns: pictures (B, 1, [Z,] Y, X) in network units, by their titles; of volumes the middle
            slice is shown.
        changes: differences of such pictures, drawn in colours beside them.
    """
    entries = [(title, pictures, False) for title, pictures in columns.items()]
    entries += [(title, pictures, True) for title, pictures in (changes or {}).items()]
    rows = len(entries[0][1])
    figure = Figure(figsize=(2.1 * len(entries), 2.15 * rows), dpi=100, layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(entries), squeeze=False)
    for column, (title, pictures, is_change) in enumerate(entries):
        axes[0, column].set_title(title, fontsize=9)
        for row, picture in enumerate(pictures[:, 0].float().cpu().numpy()):
            plane = picture if picture.ndim == 2 else picture[len(picture) // 2]
            if is_change:
                axes[row, column].imshow(plane, cmap="RdBu_r", vmin=-0.4, vmax=0.4)
            else:
                axes[row, column].imshow(plane, cmap="gray", vmin=0, vmax=1)
            axes[row, column].set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
