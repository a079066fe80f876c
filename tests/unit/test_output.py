"""What a command prints: results and complaints, for people and for programs, and how it gets on."""

import os
import pty
import sys

import click
import pytest

from vault.cli.output import json_option, progress, say, stop


@click.command()
@json_option()
def halfway() -> None:
    with progress("Sealing anew") as begin:
        begin(4)(2)


@click.command()
@json_option()
def refused() -> None:
    say("One thing is done.", {"done": 1})
    stop(78, "This is wrong.", "That is, too.", code="invalid")


@pytest.mark.parametrize(
    ("arguments", "result", "complaints"),
    [
        ([], "One thing is done.\n", "tokenvault: This is wrong.\ntokenvault: That is, too.\n"),
        (
            ["--json"],
            '{"done":1}\n',
            '{"detail":"This is wrong.","code":"invalid"}\n{"detail":"That is, too.","code":"invalid"}\n',
        ),
    ],
)
def test_people_read_sentences_and_programs_json(
    arguments: list[str], result: str, complaints: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results on standard output, what is wrong on standard error, an object a line where that was asked for."""
    with pytest.raises(SystemExit) as ended:
        refused.main(arguments, standalone_mode=False)

    assert ended.value.code == 78
    assert capsys.readouterr() == (result, complaints)


def shown(monkeypatch: pytest.MonkeyPatch, *, arguments: list[str], terminal: bool) -> str:
    """Return what is on the error output when two of four things are done."""
    reading, writing = pty.openpty() if terminal else os.pipe()
    with os.fdopen(writing, "w") as output:
        monkeypatch.setattr(sys, "stderr", output)
        halfway.main(arguments, standalone_mode=False)
        output.write("\nthe end\n")
        output.flush()
        said = ""
        while "the end" not in said:  # a terminal gives a line at a time
            said += os.read(reading, 65_536).decode()
    os.close(reading)
    return said


def test_who_looks_at_a_terminal_sees_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what is done, and how much of it."""
    said = shown(monkeypatch, arguments=[], terminal=True)

    assert "Sealing anew" in said
    assert " 50%" in said


@pytest.mark.parametrize(("arguments", "terminal"), [(["--json"], True), ([], False)])
def test_nobody_else_sees_one(monkeypatch: pytest.MonkeyPatch, arguments: list[str], terminal: bool) -> None:
    """Neither who did not want it, nor the file or program that reads what is said."""
    assert shown(monkeypatch, arguments=arguments, terminal=terminal).split() == ["the", "end"]
