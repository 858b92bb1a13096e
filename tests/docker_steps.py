"""The steps of the Dockerfile, read, and run in a clean folder where there is no Docker.

    python -m tests.docker_steps [--torch cpu] [--keep FOLDER]

Absolute paths of the image lie below the folder, and no user is made. The program that comes out
answers a scan at the end, with the image's variables alone, and where `unshare` can do it as a user
who has no name and without a network.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "Dockerfile"
_ABSOLUTE = re.compile(r"(?<![\w./}])/(opt|build|answers)\b")
# As `docker run --user` does: a user whom the image does not know.
STRANGER = ("unshare", "--map-user=54321", "--map-group=54321")


@dataclass(frozen=True)
class Step:
    """One instruction: its word, such as RUN, and all that follows, in one line."""

    word: str
    rest: str


def steps(text: str | None = None) -> list[Step]:
    """All instructions of the Dockerfile, in order."""
    lines = DOCKERFILE.read_text(encoding="utf-8") if text is None else text
    bare = "\n".join(line for line in lines.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", bare)
    return [Step(*line.split(maxsplit=1)) for line in joined.splitlines() if line.strip()]


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps a file of the checkout out of the image."""
    out = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        expression = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        # A pattern takes all that lies below it too.
        if re.fullmatch(f"{expression}(/.*)?", path):
            out = not line.startswith("!")
    return out


def copied(sources: list[str]) -> Iterator[tuple[str, Path]]:
    """Files of the checkout that a COPY takes, each with its path below the target."""
    for source in sources:
        whole = ROOT / source
        inner = [whole] if whole.is_file() else sorted(p for p in whole.rglob("*") if p.is_file())
        for path in inner:
            if not ignored(path.relative_to(ROOT).as_posix()):
                yield (path.name if path == whole else path.relative_to(whole).as_posix()), path


def pairs(step: Step) -> list[tuple[str, str]]:
    """The variables that an ENV sets."""
    split = [one.partition("=") for one in shlex.split(step.rest)]
    return [(name, value) for name, _, value in split]


def can(*command: str) -> bool:
    """Whether `command` can be put before another one here."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], check=False, capture_output=True).returncode == 0


class Clean:
    """A folder that stands for the image."""

    def __init__(self, root: Path, torch: str) -> None:
        self.root, self.here = root, root
        self.given = {"TORCH": torch}
        self.of_image: dict[str, str] = {}
        self.variables = {"PATH": os.environ["PATH"], "HOME": str(root / "home")}
        self.variables |= {k: v for k, v in os.environ.items() if k.startswith("PIP_")}
        (root / "home").mkdir(parents=True)
        (root / "bin").mkdir()
        (root / "bin" / "python").symlink_to(sys.executable)
        self.variables["PATH"] = f"{root / 'bin'}:{self.variables['PATH']}"

    def inside(self, text: str) -> str:
        """The text with the paths of the image below this folder."""
        return _ABSOLUTE.sub(lambda found: f"{self.root}{found.group()}", text)

    def do(self, step: Step) -> None:
        """Follow one instruction."""
        if step.word == "ARG":
            name, _, value = step.rest.partition("=")
            self.variables[name] = self.given.get(name, value)
        elif step.word == "FROM":
            self.of_image = {}  # a stage has its own
        elif step.word == "ENV":
            for name, value in pairs(step):
                self.variables[name] = self.inside(value).replace("$PATH", self.variables["PATH"])
                self.of_image[name] = self.inside(value).replace("$PATH", os.defpath)
        elif step.word == "WORKDIR":
            self.here = Path(self.inside(step.rest))
            self.here.mkdir(parents=True, exist_ok=True)
        elif step.word == "COPY" and not step.rest.startswith("--from"):
            self._copy(step.rest.split())
        elif step.word == "RUN" and not step.rest.startswith("useradd"):
            self._run(["bash", "-euo", "pipefail", "-c", self.inside(step.rest)])
        else:
            print(f"   left out here: {step.word} {step.rest}")  # noqa: T201

    def _copy(self, words: list[str]) -> None:
        *sources, target = words
        for name, path in copied(sources):
            to = self.here / target / name
            if len(sources) == 1 and (ROOT / sources[0]).is_file() and not target.endswith("/"):
                to = self.here / target
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, to)

    def _run(self, command: list[str], variables: dict[str, str] | None = None) -> None:
        subprocess.run(command, cwd=self.here, env=variables or self.variables, check=True)

    def answer_a_scan(self, entrypoint: list[str]) -> None:
        """The entry point on a picture and an untrained model, as `docker run` starts it."""
        from tests.model_folders import write_untrained_model
        from tests.scan_files import chest_grey, write_png

        scan = write_png(self.root / "scans" / "slice.png", chest_grey())
        model = write_untrained_model(self.root / "model")
        offline = [*STRANGER, "--net"] if can(*STRANGER, "--net") else []
        told = "by a stranger, without" if offline else "with (unshare cannot take it away here)"
        print(f"== {' '.join(entrypoint)} predict, {told} a network")  # noqa: T201
        out = self.root / "answers" / "today"
        command = [*entrypoint, "predict", str(model), str(scan.parent), "--out", str(out)]
        # Found here, where the image's PATH is not yet that of this process.
        command[0] = shutil.which(command[0], path=self.of_image["PATH"]) or command[0]
        self._run([*offline, *command], self.of_image | {"HOME": "/"})
        print((out / "predictions.csv").read_text(encoding="utf-8"))  # noqa: T201


def main() -> None:
    """Run all steps; a step that fails ends with its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--torch", default="cpu", help="which wheels of PyTorch: cpu, cu128, ...")
    parser.add_argument("--keep", type=Path, help="a new folder that stays")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="covidssl-image-") as made:
        clean = Clean(asked.keep or Path(made) / "image", asked.torch)
        entrypoint = []
        for number, step in enumerate(steps(), start=1):
            print(f"{number:2d} {step.word} {step.rest}", flush=True)  # noqa: T201
            clean.do(step)
            if step.word == "ENTRYPOINT":
                entrypoint = re.findall(r'"([^"]+)"', step.rest)
        clean.answer_a_scan(entrypoint)


if __name__ == "__main__":
    main()
