"""The reference page tells every column, outcome and code, in the words of the program."""

from pathlib import Path

from connector.enrolment.columns import HEADERS
from connector.enrolment.messages import MESSAGES
from connector.ports.enrolment import RowOutcome

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "rosters.md"


def test_the_page_is_complete_and_up_to_date():
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    for key, (chinese, english) in HEADERS.items():
        assert f"| `{key}` | {chinese} | {english} |" in lines
    for code, (chinese, english) in MESSAGES.items():
        assert f"| `{code}` | {english} | {chinese} |" in lines
    for outcome in RowOutcome:
        assert any(line.startswith(f"| `{outcome.value}` |") for line in lines)
