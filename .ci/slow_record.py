"""When the slow tests last ran, of which commit and how it went: .ci/slow writes it, .ci/run tells it.

python .ci/slow_record.py write TESTS.XML
python .ci/slow_record.py tell
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

RECORD = Path(__file__).with_name("slow.json")
_OVERDUE = 14  # days
_COUNTS = ("tests", "failures", "errors", "skipped")


def write(report: Path, record: Path, commit: str, today: date) -> None:
    """The counts of pytest's JUnit XML, with the commit and the day, as JSON."""
    suites = list(ElementTree.parse(report).iter("testsuite"))
    counts = {name: sum(int(suite.get(name, 0)) for suite in suites) for name in _COUNTS}
    seconds = sum(float(suite.get("time", 0)) for suite in suites)
    bad = counts["failures"] + counts["errors"]
    content = {
        "date": today.isoformat(),
        "commit": commit,
        "passed": counts["tests"] - bad - counts["skipped"],
        "failed": bad,
        "skipped": counts["skipped"],
        "minutes": round(seconds / 60),
    }
    record.write_text(json.dumps(content, indent=1) + "\n")


def tell(record: Path, today: date) -> str:
    """One line: how long ago, of which commit, how it went; and whether they are overdue."""
    if not record.is_file():
        return "slow tests: never ran: start .ci/slow"
    found = json.loads(record.read_text())
    days = (today - date.fromisoformat(found["date"])).days
    line = (
        f"slow tests: {days} days ago, of {found['commit'][:7]}: {found['passed']} passed, "
        f"{found['failed']} failed, {found['skipped']} skipped in {found['minutes']} minutes"
    )
    return line + ("; overdue: start .ci/slow" if days > _OVERDUE else "")


def main(words: list[str]) -> int:
    """The commands above."""
    match words:
        case ["write", report]:
            commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
            write(Path(report), RECORD, commit.stdout.strip(), date.today())
        case ["tell"]:
            print(tell(RECORD, date.today()))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
