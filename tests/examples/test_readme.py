"""What the two READMEs say of the examples holds."""

import asyncio
import re
import sys
from types import ModuleType

from tests.examples.support import EXAMPLES
from tests.support.clock import VirtualClock


def test_every_example_is_listed_with_its_command():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    scripts = {path.name for path in EXAMPLES.glob("*.py")} | {"importer/importer.py"}
    assert {name for name in scripts if f"`python examples/{name}" not in listed} == set()
    assert "`./dev demo`" in listed


def test_the_first_program_of_the_readme_runs_unchanged_its_days_on_a_virtual_clock(monkeypatch, tmp_path):
    monkeypatch.setenv("DURABLE_DB", str(tmp_path / "durable.db"))
    readme = EXAMPLES.parent / "README.md"
    program = re.findall(r"^```python\n(.*?)^```", readme.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)[0]
    module = ModuleType("readme")
    monkeypatch.setitem(sys.modules, "readme", module)
    exec(compile(program, str(readme), "exec"), module.__dict__)
    clock = VirtualClock()
    module.wf.clock = clock

    async def play() -> list[str]:
        async with module.wf as wf:
            for run_id in ("order-42", "order-43"):
                assert await wf.complete(run_id, "approval", {"by": "ada"})
            await module.main()
            return [await wf.handle(run_id).status() for run_id in ("order-42", "order-43")]

    began = clock.now_ms()
    with clock.runner() as runner:
        assert runner.run(asyncio.wait_for(play(), 30)) == ["succeeded", "succeeded"]
    assert clock.now_ms() - began >= 2 * 86_400_000
