"""How a command shows that it gets on: to whoever looks at a terminal, and to nobody else."""

import os
import pty
import sys

import pytest

from vault.commands import progress


def shown(monkeypatch: pytest.MonkeyPatch, *, hidden: bool, terminal: bool) -> str:
    """Return what is on the error output when two of four things are done."""
    reading, writing = pty.openpty() if terminal else os.pipe()
    with os.fdopen(writing, "w") as output:
        monkeypatch.setattr(sys, "stderr", output)
        with progress("Sealing anew", hidden=hidden) as begin:
            begin(4)(2)
        output.write("\nthe end\n")
        output.flush()
        said = ""
        while "the end" not in said:  # a terminal gives a line at a time
            said += os.read(reading, 65_536).decode()
    os.close(reading)
    return said


def test_who_looks_at_a_terminal_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is done, and how much of it."""
    said = shown(monkeypatch, hidden=False, terminal=True)

    assert "Sealing anew" in said
    assert " 50%" in said


@pytest.mark.parametrize(("hidden", "terminal"), [(True, True), (False, False)])
def test_nobody_else_sees_one(monkeypatch: pytest.MonkeyPatch, hidden: bool, terminal: bool) -> None:
    """Neither who did not want it, nor the file or program that reads what is said."""
    assert shown(monkeypatch, hidden=hidden, terminal=terminal).split() == ["the", "end"]
