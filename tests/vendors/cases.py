"""What a vendor's answers mean, as a table: each file of this package has its rows in `CASES`."""

from collections.abc import Callable
from typing import NamedTuple

from integrations.contract import Answer, Finding, ProviderError, Steps, TokenSet


class Case(NamedTuple):
    """The *answers* that one after the other the calls of *steps* get, and what it all comes to, in a word.

    That is the class and code of what is raised ("GrantRejected invalid_grant"), the verdict and code of a
    finding ("invalid invalid_api_key", "valid"), or "tokens".
    """

    what: str
    steps: Callable[[], Steps[object]]
    answers: tuple[Answer, ...]
    expected: str


def outcome(case: Case) -> str:
    """Return what the answers of *case* come to, in the words of `Case.expected`."""
    try:
        result = found_in(case)
    except ProviderError as error:
        return f"{type(error).__name__} {error.code}"
    if isinstance(result, Finding):
        return " ".join(filter(None, (result.verdict, result.code)))
    return "tokens" if isinstance(result, TokenSet) else str(result)


def found_in(case: Case) -> object:
    """Return what the steps of *case* return. Raises the ProviderError that they raise."""
    steps, answers = case.steps(), iter(case.answers)
    try:
        next(steps)
        while True:
            steps.send(next(answers))
    except StopIteration as done:
        assert next(answers, None) is None, "an answer was left over"
        return done.value
