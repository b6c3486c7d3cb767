"""The README is true."""

import re
from pathlib import Path

from tools.simulator.faults import table_markdown
from tools.simulator.script import parse_script

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_readme_has_the_table_of_faults() -> None:
    assert table_markdown() in README


def test_the_readmes_script_is_one() -> None:
    found = re.search(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert found
    assert len(parse_script(found[1]).rules) == 3
