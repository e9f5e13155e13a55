"""`tortie agent`: settings in, a running agent, an exit code out."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import structlog

from tortie import __version__
from tortie.agent.agent import Agent
from tortie.agent.journal import Journal
from tortie.bootstrap import Bootstrap
from tortie.errors import TortieError

LOG = structlog.get_logger(__name__)


# An OSError is a directory that cannot be made or written: its text names the path.
Fault = TortieError | OSError


def run(settings: Bootstrap, warnings: tuple[str, ...]) -> int:
    """Runs until SIGTERM or SIGINT: 0. An error that the operator must mend is one line on stderr: 1."""
    journal = Journal()
    _configure_logging(journal)
    for warning in warnings:
        LOG.warning("configuration", reason=warning)
    failed = False
    try:
        asyncio.run(_run_until_signal(settings, warnings, journal))
    except* (TortieError, OSError) as group:
        failed = True
        for error in _leaves(group):
            print(f"tortie agent: {error}", file=sys.stderr)
    return 1 if failed else 0


async def _run_until_signal(settings: Bootstrap, warnings: tuple[str, ...], journal: Journal) -> None:
    loop = asyncio.get_running_loop()
    agent = asyncio.create_task(Agent(settings, warnings, journal).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.cancel)
    LOG.info("agent starts", node=settings.node, datastore=settings.datastore, version=__version__)
    try:
        await agent
    except asyncio.CancelledError:
        # Asked to stop: the kernel keeps everything, so traffic does not notice.
        LOG.info("agent stops; routes stay")


def _leaves(group: BaseExceptionGroup[Fault]) -> list[Fault]:
    found: list[Fault] = []
    for error in group.exceptions:
        found.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return found


def _configure_logging(journal: Journal) -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            journal,
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=("timestamp", "level", "event"), bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
    )
