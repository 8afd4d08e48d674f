"""How right the time left was: reads what `--log-file` wrote.

    python -m entrypoints.fit --csv train.csv --images images/ --log-file fit.log
    python -m benchmarks.time_left fit.log

For each share of the work, the first line that says so much: the seconds that it left, those that were left in truth
(to the last line of the file), and the one divided by the other.
"""

import argparse
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

SHARES = (0.1, 0.25, 0.5, 0.75)
LINE = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) .*, (\d+)%, (.+) left$")
UNITS = {"h": 3600, "min": 60, "s": 1}


@dataclass(frozen=True)
class Judged:
    """A line of the log: the share that it names, and the seconds that were said and that were true."""

    share: float
    said: float
    true: float

    @property
    def ratio(self) -> float:
        """Above 1 where too much was said."""
        return self.said / max(self.true, 1.0)


def judge(text: str, shares: tuple[float, ...] = SHARES) -> list[Judged]:
    """The first line of a log from each share of the whole time on; the last start in it counts."""
    lines = [line for line in text.splitlines() if re.match(r"\d{4}-", line)]
    moments = [datetime.fromisoformat(line[:19]) for line in lines]
    begin, end = moments[0], moments[-1]
    whole = (end - begin).total_seconds()
    found = []
    for share in shares:
        for moment, line in zip(moments, lines, strict=True):
            match = LINE.match(line)
            if match and (moment - begin).total_seconds() >= share * whole:
                found.append(Judged(share, read_clock(match[3]), (end - moment).total_seconds()))
                break
    return found


def read_clock(text: str) -> float:
    """Seconds of `3 min 20 s`."""
    return float(sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+) (h|min|s)", text)))


def main() -> None:
    parser = argparse.ArgumentParser(description="How right the time left was.")
    parser.add_argument("logs", nargs="+", type=Path)
    for path in parser.parse_args().logs:
        for each in judge(path.read_text(encoding="utf-8")):
            print(f"{path.stem}: at {each.share:.0%}: {each.said:.0f} s said, {each.true:.0f} s true, {each.ratio:.2f}")


if __name__ == "__main__":
    main()
