"""The composition root: everything is built here, once, and nowhere else."""

import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from integrations import builtin, sandbox
from integrations.contract import Client, Provider
from vault.access import Access
from vault.authorize import Authorize
from vault.callback import Callback
from vault.callers import Callers
from vault.chain import Chain
from vault.checks import Checks
from vault.client_tokens import ClientTokens
from vault.clients.clients import Clients
from vault.connections import Connections
from vault.devices import Devices
from vault.exchange.exchange import Exchange
from vault.exchange.patience import Patience
from vault.gates import Gates
from vault.keyring import Keyring
from vault.limits import CallerLimits, WaitingRoom
from vault.live_keyring import LiveKeyring
from vault.means import Means
from vault.memory import Memory
from vault.metrics import Metrics
from vault.offboarding import Offboarding
from vault.outbound import Outbound
from vault.providers import Providers
from vault.refresh import Refresher
from vault.request_log import RequestLog
from vault.scrape import Scrape
from vault.services import Vault
from vault.settings import Settings
from vault.signing_in import SigningIn
from vault.signing_keys import SigningKeys
from vault.sources import Sources
from vault.store import keys, leases
from vault.store.database import Database, FileLock, prepare_file, sqlite_path
from vault.store.trail import Trail
from vault.store.writer import Transaction, Writer
from vault.sweep import Sweeper
from vault.tenants import Tenants
from vault.tickets import Tickets
from vault.tokens import Tokens
from vault.trail.records import Records
from vault.trail.usage import Usage
from vault.unlock import CannotStart, open_keyring, open_vault
from vault.verify import Verify
from vault.watch import Watch
from vault.works.running import Works


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Vault]:
    """Give the vault that `serve` and `worker` run: migrated, unlocked and alone on its SQLite file.

    Raises InUse, CannotStart, StorageUnavailable; nothing is open then.
    """
    prepare_file(settings.database_url)
    lock = FileLock(settings.database_url)
    lock.acquire()
    try:
        database = Database(settings.database_url)
        try:
            keyring = await open_vault(database, settings.encryption_secret)
        except BaseException:
            await database.close()
            raise
        vault = build(settings, database, keyring, alone=database.on_sqlite)
        try:
            if database.on_sqlite:
                # We hold the lock, so whoever held these leases, or sent these intents, is dead.
                await vault.writer.submit(_void_leases)
            if settings.sandbox:
                await _register_sandbox(vault)
            yield vault
        finally:
            await vault.close()
    finally:
        lock.release()


@asynccontextmanager
async def beside(settings: Settings) -> AsyncIterator[Vault]:
    """Give the vault to a command that works beside a server. Raises CannotStart, StorageUnavailable."""
    path = sqlite_path(settings.database_url)
    if path is not None and not path.exists():
        raise CannotStart("There is no database yet: run `tokenvault migrate`.")
    database = Database(settings.database_url)
    try:
        keyring = await open_keyring(database, settings.encryption_secret)
    except BaseException:
        await database.close()
        raise
    vault = build(settings, database, keyring, alone=False)
    try:
        yield vault
    finally:
        await vault.close()


def build(settings: Settings, database: Database, keyring: Keyring, *, alone: bool) -> Vault:
    """Return the service over an open database and keyring, with the tasks that write and that watch begun.

    *alone* says that no other process serves from this database.
    """
    metrics = Metrics()
    keyring = LiveKeyring(keyring, lambda: database.at_once(keys.wrapped))
    memory = Memory(settings.cache_entries, alone=alone)
    chain = Chain(keyring.mac_key("audit"))
    trail = Trail(chain)
    writer = Writer(database, trail, memory.forget, metrics)
    application = sandbox.application(settings.public_url, keyring.mac("sandbox")) if settings.sandbox else None
    outbound = Outbound(
        allow_local=settings.allow_local_providers,
        in_process={settings.public_url: application} if application else None,
    )
    providers = Providers(_built_in(settings), outbound, writer, allow_local=settings.allow_local_providers)
    limits = CallerLimits(settings.caller_rate)
    access = Access(database, writer, keyring, memory, limits)
    tickets = Tickets(
        writer, keyring, providers, public_url=settings.public_url, lifetime=settings.ticket_lifetime
    )
    means = Means(
        database=database,
        writer=writer,
        keyring=keyring,
        memory=memory,
        metrics=metrics,
        outbound=outbound,
        providers=providers,
        signing_keys=SigningKeys(outbound),
        sources=Sources(database, keyring, memory, providers),
        timeout=settings.provider_timeout,
        jitter=secrets.SystemRandom().uniform,
    )
    gates = Gates(database, writer, memory, providers, means.jitter)
    patience = Patience(timedelta(seconds=settings.lease), timedelta(seconds=settings.provider_timeout))
    holder = f"{socket.gethostname()}/{secrets.token_hex(4)}"
    refresher = Refresher(
        database=database,
        writer=writer,
        providers=providers,
        exchange=Exchange(means, patience, gates),
        patience=patience,
        holder=holder,
        concurrency=settings.provider_concurrency,
    )
    works = Works(means, holder=holder, lease=timedelta(seconds=settings.lease))
    connections = Connections(means, works)
    verify = Verify(means, connections, refresher)
    return Vault(
        settings=settings,
        database=database,
        chain=chain,
        trail=trail,
        writer=writer,
        keyring=keyring,
        memory=memory,
        metrics=metrics,
        requests=RequestLog(metrics),
        scrape=Scrape(database, metrics, writer, memory),
        watch=Watch(writer, memory, keyring),
        outbound=outbound,
        access=access,
        limits=limits,
        callers=Callers(database, writer, keyring, access, memory),
        tenants=Tenants(database, writer, memory, gates),
        clients=Clients(database, writer, keyring, providers, gates),
        providers=providers,
        gates=gates,
        tickets=tickets,
        signing_in=SigningIn(database, writer, keyring, public_url=settings.public_url),
        authorize=Authorize(
            writer=writer, keyring=keyring, providers=providers, tickets=tickets, public_url=settings.public_url
        ),
        callback=Callback(means),
        devices=Devices(means),
        connections=connections,
        offboarding=Offboarding(means, gates),
        refresher=refresher,
        sweeper=Sweeper(database, refresher),
        records=Records(database, access),
        usage=Usage(database, access),
        tokens=Tokens(
            writer=writer,
            access=access,
            sources=means.sources,
            refresher=refresher,
            tickets=tickets,
            memory=memory,
            waiting=WaitingRoom(settings.waiting_readers),
            metrics=metrics,
        ),
        client_tokens=ClientTokens(writer=writer, access=access, sources=means.sources),
        verify=verify,
        checks=Checks(means, verify),
        works=works,
        sandbox=application,
    )


def _built_in(settings: Settings) -> dict[str, Provider]:
    made_up = {"sandbox": sandbox.provider(settings.public_url)} if settings.sandbox else {}
    return {**builtin.providers(settings.endpoints), **made_up}


async def _void_leases(tx: Transaction) -> None:
    await tx.execute(leases.VOID_ALL)


async def _register_sandbox(vault: Vault) -> None:
    key = vault.keyring.mac("sandbox")
    client = Client(sandbox.CLIENT_ID, sandbox.client_secret(key))
    await vault.clients.put("platform", "sandbox", client, "operator")
