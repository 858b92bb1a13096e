"""The verb that looks at a scan: view."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from covidssl.cli.application import app, say
from covidssl.cli.options import Overrides

# The verb is imported where it is called: `--help` must not wait for the readers.


@app.command(
    epilog="Example: `covidssl view clinic/scan7 "
    "--map answers/maps/0dd3c8c9317c636f-lesions.nii.gz`"
)
def view(
    scan: Annotated[Path, typer.Argument(help="A scan: a DICOM folder, a file, or a zip.")],
    maps: Annotated[
        list[Path] | None,
        typer.Option(
            "--map",
            metavar="NIFTI",
            help="A map in the scan's geometry, such as `lesion_map` of predictions.csv names; "
            "repeatable.",
        ),
    ] = None,
    series: Annotated[
        str | None, typer.Option(help="Which scan, by its name, where SCAN holds several.")
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Start no browser; the address is printed.")
    ] = False,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="On 127.0.0.1; 0 takes any that is free.")
    ] = 0,
    viewer_js: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="COVIDSSL_VIEWER_JS",
            help="NiiVue's niivue.umd.js, where the extra `view` is not installed.",
        ),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Three planes of a scan with a linked cursor, and maps over them, in the browser.

    The page is served to this machine alone, under an address with a secret, until Ctrl-C. Nothing
    is written, and nothing is fetched.
    """
    from covidssl.commands import view as verb
    from covidssl.config import load_config
    from covidssl.viewing import ViewConfig

    reading = load_config(ViewConfig, None, overrides or ()).reading

    def tell(address: str) -> None:
        say(f"{address}")
        typer.echo("Ends with Ctrl-C.", err=True)

    browsing = verb.Browsing(viewer_js, port, not no_browser, reading)
    verb.main(scan, maps or (), series, browsing, tell)
