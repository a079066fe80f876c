"""Processes forked from one that has imported everything already: a start costs milliseconds, not a second."""

import multiprocessing

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "jobs.process",
        "tests.killable",
        "tests.killable_import",
        "tests.killable_keys",
        "tests.processes",
        "tests.provider.process",
        "tests.settled",  # the last
    ]
)
