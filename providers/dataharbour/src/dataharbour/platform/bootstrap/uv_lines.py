"""Read what uv says while it works, and what to do when it fails. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from dataharbour.errors import PlatformError

_ANNOUNCED = re.compile(r"Downloading (\S+) \(([\d.]+)([KMG])iB\)")
_DOWNLOADED = re.compile(r"\s*Downloaded (\S+)")
_BUILDING = re.compile(r"\s*Building (\S+)")
_BUILT = re.compile(r"\s*Built (\S+)")
_STAGES = {"Prepared": "installing", "Installed": "compiling"}  # what follows the word
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}

_REMEDIES = (
    ("No space left on device", "Free some space on that disk; what was downloaded is kept."),
    (
        r"(?i)failed to fetch|error sending request|dns error|timed out|connect",
        "Check the network, proxy (HTTPS_PROXY) and package index (PIP_INDEX_URL, pip.conf), and "
        "call again: what was downloaded is kept.",
    ),
    (
        "(?i)hash mismatch",
        "The package index offers other files than the lock; use one that mirrors pypi.org.",
    ),
)


@dataclass
class Reading:
    """How far one command of uv is.

    Attributes:
        stage: what is done after the packages are there; empty before.
        done_bytes: size of the files that are whole.
        downloading: size of each file that is on its way.
        building: packages that are being built.
    """

    stage: str = ""
    done_bytes: int = 0
    downloading: dict[str, int] = field(default_factory=dict)
    building: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Account for the next line."""
        if match := _ANNOUNCED.match(line):
            self.downloading[match[1]] = int(float(match[2]) * _UNITS[match[3]])
        elif match := _DOWNLOADED.match(line):
            self.done_bytes += self.downloading.pop(match[1], 0)
        elif match := _BUILDING.match(line):
            self.building.append(match[1])
        elif (match := _BUILT.match(line)) and match[1] in self.building:
            self.building.remove(match[1])
        elif line:
            self.stage = _STAGES.get(line.split()[0], self.stage)

    def describe(self, expected_bytes: int) -> tuple[str, int, int]:
        """What is being done, how many bytes of it are done, how many there are."""
        if self.stage:
            return self.stage, 0, 0
        if self.building and not self.downloading:
            return f"building {self.building[0]}", 0, 0
        return "packages", self.done_bytes, expected_bytes


def failure(code: int, lines: list[str]) -> PlatformError:
    """What uv said from its first word of an error on, with a remedy."""
    spoken = [line for line in lines if line.strip()]
    start = next((i for i, line in enumerate(spoken) if line.startswith("error")), -10)
    text = "\n    ".join(spoken[start:][:30])
    remedy = next(
        (remedy for pattern, remedy in _REMEDIES if re.search(pattern, text)),
        "Call again; if it stays, see what the message above names.",
    )
    return PlatformError(
        f"The packages could not be installed (uv ended with {code}):\n    {text}", remedy
    )
