"""What can happen to an etcd: it goes, falls silent, forgets, is set back, wants a secret, or was never one."""

from __future__ import annotations

import asyncio
import socketserver
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from pathlib import Path

import dns.asyncresolver
import dns.message
import dns.rcode
import dns.rrset
import pytest

from tests.unit.datastore.etcd_server import LOOPBACK, EtcdServer, free_ports
from tortie.access import NO_CREDENTIALS, Credentials
from tortie.datastore import open_datastore
from tortie.datastore.api import Batch, Compare, Delete, Put
from tortie.datastore.etcd import EtcdDatastore, backend, members
from tortie.datastore.etcd.connection import Connector
from tortie.datastore.etcd.history import History
from tortie.datastore.etcd.members import Members
from tortie.datastore.etcd.watch import watch
from tortie.datastore.follow import Changed, Disconnected, InSync, follow
from tortie.errors import Compacted, DatastoreError, Unavailable, UsageError
from tortie.lab import etcd

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(bool(etcd.missing()), reason=etcd.missing() or "etcd is installed"),
]

MakeServer = Callable[..., EtcdServer]
Connect = Callable[..., EtcdDatastore]


@pytest.fixture
def make_server(directory: Path) -> Iterator[MakeServer]:
    """Servers of one's own, to be harmed."""
    servers: list[EtcdServer] = []

    def make(extra: tuple[str, ...] = (), scheme: str = "http") -> EtcdServer:
        servers.append(EtcdServer(directory / f"etcd-{len(servers)}", extra, scheme))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


@pytest.fixture
def server(make_server: MakeServer) -> EtcdServer:
    made = make_server()
    made.start()
    return made


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    stores: list[EtcdDatastore] = []

    def make(url: str, credentials: Credentials = NO_CREDENTIALS) -> EtcdDatastore:
        stores.append(EtcdDatastore(url, credentials))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The records of a name server on loopback, which everybody asks."""
    records: list[str] = []

    class Answer(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query = dns.message.from_wire(self.request[0])
            answer = dns.message.make_response(query)
            name = query.question[0].name.to_text()
            if lines := [line for line in records if line.startswith(f"{name} ")]:
                texts = [line.split(maxsplit=4)[4] for line in lines]
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "SRV", *texts))
            else:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            self.request[1].sendto(answer.to_wire(), self.client_address)

    with socketserver.UDPServer((LOOPBACK, 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = [LOOPBACK]
        resolver.port = server.server_address[1]
        monkeypatch.setattr(dns.asyncresolver, "default_resolver", resolver)
        yield records
        server.shutdown()
        thread.join()


async def put(store: EtcdDatastore, key: str, value: bytes = b"v") -> int:
    return (await store.txn([], [Put(key, value)])).revision


async def heals(store: EtcdDatastore, key: str) -> None:
    """Waits until the store answers again."""
    async with asyncio.timeout(20):
        while True:
            with suppress(Unavailable):
                await store.get(key)
                return
            await asyncio.sleep(0.05)


class TestOutages:
    async def test_a_store_that_is_not_there_is_unavailable_by_name(self, connect: Connect) -> None:
        (port,) = free_ports(1)
        store = connect(f"etcd://{LOOPBACK}:{port}")
        for work in (store.get("/a"), store.list("/"), store.lease(5), store.txn([], [Put("/a", b"")])):
            with pytest.raises(Unavailable, match=f"datastore etcd://{LOOPBACK}:{port} does not answer"):
                await work

    async def test_stopped_and_started_again(self, server: EtcdServer, connect: Connect) -> None:
        store = connect(server.url)
        await put(store, "/a", b"1")
        server.stop()
        with pytest.raises(Unavailable):
            await store.get("/a")
        server.start()
        await heals(store, "/a")
        found = await store.get("/a")
        assert found is not None and found.value == b"1"  # noqa: PT018 - the first is for the type checker

    async def test_a_watch_whose_connection_is_closed_at_any_moment_says_so(
        self, server: EtcdServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another watch may find the connection broken. One that ended as if cancelled would never be resumed."""
        monkeypatch.setattr("tortie.datastore.etcd.watch.CALL_TIMEOUT_S", 0.2)
        connector = Connector(server.url, Members(server.url), NO_CREDENTIALS)
        for moment in range(200):
            connection = await connector.connection()
            async with aclosing(watch(connector, History(), "/", 1)) as batches:
                beginning = asyncio.ensure_future(anext(batches))
                await asyncio.sleep(moment * 40e-6)
                await connector.drop(connection)
                with suppress(Unavailable):
                    async with asyncio.timeout(10):
                        await beginning
        await connector.close()

    async def test_a_follower_misses_and_repeats_nothing_across_restarts(
        self, server: EtcdServer, connect: Connect
    ) -> None:
        store, writer = connect(server.url), connect(server.url)
        seen: list[bytes] = []
        in_sync = asyncio.Event()

        async def following() -> None:
            async with follow(store, ["/p/"]) as changes:
                async for change in changes:
                    match change:
                        case Changed(events):
                            seen.extend(event.value for event in events if event.value is not None)
                        case InSync():
                            in_sync.set()
                        case Disconnected():
                            in_sync.clear()

        # Of a prefix of which nothing was seen there is nothing to ask a restarted server: it is listed again.
        await put(writer, "/p/before", b"before")
        task = asyncio.create_task(following())
        number = 0
        for _ in range(3):
            async with asyncio.timeout(20):
                await in_sync.wait()
                for _ in range(20):
                    number += 1
                    await put(writer, "/p/a", b"%d" % number)
            server.stop()
            server.start()
            await heals(writer, "/p/a")
        async with asyncio.timeout(20):
            while b"%d" % number not in seen:  # noqa: ASYNC110 - the list is what is asked for
                await asyncio.sleep(0.01)
        task.cancel()
        assert seen == [b"before", *(b"%d" % each for each in range(1, number + 1))]

    async def test_silence_ends_a_watch_within_ten_seconds_and_a_call_within_six(
        self, server: EtcdServer, connect: Connect
    ) -> None:
        store, other = connect(server.url), connect(server.url)
        listing = await store.list("/p/")
        await other.get("/a")
        async with aclosing(store.watch("/p/", listing.revision + 1)) as watch:
            await anext(watch)
            server.pause()
            started = time.monotonic()
            watching = asyncio.ensure_future(anext(watch))
            with pytest.raises(Unavailable, match="no reply in time"):
                await other.get("/a")
            assert time.monotonic() - started < 6
            with pytest.raises(Unavailable):
                await watching
            assert time.monotonic() - started < 10
        server.resume()
        await heals(store, "/a")

    async def test_while_disconnected_it_hardly_works(self, server: EtcdServer, connect: Connect) -> None:
        store = connect(server.url)
        async with follow(store, ["/p/", "/q/"]) as changes:
            async for change in changes:
                if isinstance(change, InSync):
                    break
            server.stop()
            async for change in changes:
                if isinstance(change, Disconnected):
                    break
            used, started = time.process_time(), time.monotonic()
            with suppress(TimeoutError):
                async with asyncio.timeout(4):
                    async for _ in changes:
                        pass
            # The first, quick tries are among them; later ones are 5 s apart.
            assert (time.process_time() - used) / (time.monotonic() - started) < 0.05

    async def test_another_member_is_asked_when_one_dies(self, make_server: MakeServer, connect: Connect) -> None:
        (dead,) = free_ports(1)
        live = make_server()
        live.start()
        for members_ in ([dead, live.client_port], [live.client_port, dead]):
            store = connect("etcd://" + ",".join(f"{LOOPBACK}:{port}" for port in members_))
            for _ in range(4):
                assert await store.get("/a") is None
            assert (await store.txn([Compare("/x", 0)], [Put("/x", b"")])).succeeded
            await store.txn([], [Delete("/x")])

    async def test_a_write_whose_answer_is_lost_is_not_sent_again(self, server: EtcdServer, connect: Connect) -> None:
        store, reader = connect(server.url), connect(server.url)
        await store.get("/a")
        server.pause()
        writing = asyncio.create_task(put(store, "/a", b"once"))
        with pytest.raises(Unavailable):
            await writing
        server.resume()
        await heals(reader, "/a")
        listing = await reader.list("/a")
        created = [item.created for item in listing.items]
        assert [item.revision for item in listing.items] == created  # not there, or written once


class TestForgetting:
    async def test_compacted_under_a_follower_only_differences_come(self, server: EtcdServer, connect: Connect) -> None:
        store = connect(server.url)
        await store.txn([], [Put("/p/gone", b"1"), Put("/p/kept", b"1"), Put("/p/new", b"1")])
        seen: list[tuple[str, bytes | None]] = []
        async with asyncio.timeout(40), follow(store, ["/p/"]) as changes:
            async for change in changes:
                if isinstance(change, InSync):
                    break
            # What happens to the store while the follower cannot see it happens at another address.
            place = server.client_port
            server.stop()
            (server.client_port,) = free_ports(1)
            server.start()
            writer = connect(server.url)
            await writer.txn([], [Delete("/p/gone"), Put("/p/new", b"2")])
            server.ctl("compact", str(await put(writer, "/q/other")))
            server.stop()
            server.client_port = place
            server.start()
            async for change in changes:
                if isinstance(change, Changed):
                    seen += [(event.key, event.value) for event in change.events]
                elif isinstance(change, InSync):
                    break
        assert seen == [("/p/gone", None), ("/p/new", b"2")]

    async def test_restored_from_an_older_backup_is_listed_again(
        self, server: EtcdServer, connect: Connect, directory: Path
    ) -> None:
        store, writer = connect(server.url), connect(server.url)
        await put(writer, "/p/old", b"1")
        server.ctl("snapshot", "save", str(directory / "backup"))
        await put(writer, "/p/lost", b"1")
        seen: list[tuple[str, bytes | None]] = []
        async with asyncio.timeout(40), follow(store, ["/p/"]) as changes:
            async for change in changes:
                if isinstance(change, InSync):
                    break
            server.stop()
            server.restore(directory / "backup")
            place = server.client_port
            (server.client_port,) = free_ports(1)
            server.start()
            writer = connect(server.url)
            # As many writes as were lost, and more: the revision alone tells nothing any more.
            for number in range(5):
                await put(writer, "/p/new", b"%d" % number)
            server.stop()
            server.client_port = place
            server.start()
            async for change in changes:
                if isinstance(change, Changed):
                    seen += [(event.key, event.value) for event in change.events]
                elif isinstance(change, InSync):
                    break
        assert ("/p/lost", None) in seen
        assert ("/p/new", b"4") in seen

    async def test_a_watch_from_the_future_is_compacted(self, server: EtcdServer, connect: Connect) -> None:
        store = connect(server.url)
        revision = await put(store, "/a")
        with pytest.raises(Compacted):
            await anext(store.watch("/", revision + 100))


class TestPagesAndSizes:
    async def test_pages_are_of_one_revision(
        self, server: EtcdServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, writer = connect(server.url), connect(server.url)
        keys = [f"/p/{number:04}" for number in range(300)]
        for start in range(0, 300, 100):
            await writer.txn([], [Put(key, b"") for key in keys[start : start + 100]])
        monkeypatch.setattr(backend, "PAGE_KEYS", 7)
        stop = asyncio.Event()

        async def churn() -> None:
            # Both or none of the two is there at any revision.
            while not stop.is_set():
                await writer.txn([], [Put("/p/0000a", b""), Put("/p/0299a", b"")])
                await writer.txn([], [Delete("/p/0000a"), Delete("/p/0299a")])

        task = asyncio.create_task(churn())
        for _ in range(5):
            found = [item.key for item in (await store.list("/p/")).items]
            assert [key for key in found if not key.endswith("a")] == keys
            assert len(found) in (300, 302)
        stop.set()
        await task

    async def test_a_listing_begins_again_when_its_revision_is_compacted(
        self, server: EtcdServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, writer = connect(server.url), connect(server.url)
        await writer.txn([], [Put(f"/p/{number}", b"") for number in range(9)])
        monkeypatch.setattr(backend, "PAGE_KEYS", 3)
        offer, pages = store._offer, 0

        async def compacting(*args: object, **options: bool) -> object:
            nonlocal pages
            pages += 1
            if pages == 2:
                revision = await put(writer, "/p/9")
                server.ctl("compact", str(revision))
            return await offer(*args, **options)  # type: ignore[arg-type]  # passed on as they came

        monkeypatch.setattr(store, "_offer", compacting)
        assert len((await store.list("/p/")).items) == 10

    async def test_what_etcd_would_not_take_is_refused_with_its_limits(
        self, server: EtcdServer, connect: Connect
    ) -> None:
        store = connect(server.url)
        with pytest.raises(DatastoreError, match="200 keys in one transaction; etcd takes 128"):
            await store.txn([], [Put(f"/{number}", b"") for number in range(200)])
        with pytest.raises(DatastoreError, match="a transaction of 2000016 bytes; etcd takes 1572864"):
            await store.txn([], [Put("/a", bytes(2_000_000))])
        assert (await store.list("/")).items == []

    async def test_a_server_with_lower_limits_is_asked_one_by_one(
        self, make_server: MakeServer, connect: Connect
    ) -> None:
        server = make_server(("--max-txn-ops", "4"))
        server.start()
        store = connect(server.url)
        results = await asyncio.gather(*(store.txn([Compare(f"/{n}", 0)], [Put(f"/{n}", b"")]) for n in range(20)))
        assert all(result.succeeded for result in results)
        assert len((await store.list("/")).items) == 20

    async def test_many_writes_whose_answer_is_lost_are_not_sent_again(
        self, server: EtcdServer, connect: Connect
    ) -> None:
        store, reader = connect(server.url), connect(server.url)
        await store.get("/a")
        server.pause()
        outcomes = await asyncio.gather(*(put(store, f"/a/{n}") for n in range(100)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {Unavailable}
        server.resume()
        await heals(reader, "/a")
        items = (await reader.list("/a/")).items
        assert [item.revision for item in items] == [item.created for item in items]

    async def test_a_full_store_says_so(self, make_server: MakeServer, connect: Connect) -> None:
        small = make_server(("--quota-backend-bytes", "1000000"))
        small.start()
        store = connect(small.url)

        async def fill() -> None:
            for number in range(100):
                await put(store, f"/{number}", bytes(100_000))

        with pytest.raises(DatastoreError, match=r"takes no more: .*database space exceeded"):
            await fill()
        assert (await store.list("/")).items


class TestSecrets:
    @pytest.fixture
    def keys(self, directory: Path) -> Path:
        """ca, server and client in PEM, signed by the CA; `other` is a CA that signed nothing."""

        def openssl(*words: str) -> None:
            subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

        for name in ("ca", "other"):
            openssl(
                *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", "2"),
                *("-keyout", f"{name}.key", "-out", f"{name}.crt"),
            )
        (directory / "names").write_text(f"subjectAltName=IP:{LOOPBACK}\n")
        for name in ("server", "client"):
            openssl(
                *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
                *("-keyout", f"{name}.key", "-out", f"{name}.csr"),
            )
            openssl(
                *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial"),
                *("-days", "2", "-out", f"{name}.crt", "-extfile", "names"),
            )
        return directory

    async def test_tls_with_client_certificates(self, keys: Path, make_server: MakeServer, connect: Connect) -> None:
        server = make_server(
            (
                *("--cert-file", str(keys / "server.crt"), "--key-file", str(keys / "server.key")),
                *("--trusted-ca-file", str(keys / "ca.crt"), "--client-cert-auth"),
            ),
            "https",
        )
        port = server.client_port
        server._extra = (
            *server._extra,
            "--listen-client-urls",
            f"https://{LOOPBACK}:{port}",
            "--advertise-client-urls",
            f"https://{LOOPBACK}:{port}",
        )
        server.start()
        url = f"etcds://{LOOPBACK}:{port}"
        files = Credentials(
            ca_cert_file=f"{keys}/ca.crt", cert_file=f"{keys}/client.crt", key_file=f"{keys}/client.key"
        )
        await heals(connect(url, files), "/a")
        inline = Credentials(
            ca_cert=(keys / "ca.crt").read_text(),
            cert=(keys / "client.crt").read_text(),
            key=(keys / "client.key").read_text(),
        )
        assert await connect(url, inline).get("/a") is None

        wrong_ca = Credentials(
            ca_cert_file=f"{keys}/other.crt", cert_file=f"{keys}/client.crt", key_file=f"{keys}/client.key"
        )
        for credentials in (wrong_ca, Credentials(ca_cert_file=f"{keys}/ca.crt"), NO_CREDENTIALS):
            with pytest.raises(Unavailable, match=f"datastore {url}"):
                await connect(url, credentials).get("/a")
        with pytest.raises(Unavailable, match="datastore etcd:"):
            await connect(f"etcd://{LOOPBACK}:{port}").get("/a")
        with pytest.raises(DatastoreError, match=r"nowhere\.crt: No such file"):
            await connect(url, Credentials(ca_cert_file=f"{keys}/nowhere.crt")).get("/a")

    async def test_user_and_password(self, make_server: MakeServer, connect: Connect, directory: Path) -> None:
        server = make_server(("--auth-token-ttl", "1"))
        server.start()
        for words in (
            "user add root:s3cret",
            "user grant-role root root",
            "role add reader",
            "role grant-permission reader read --prefix=true /a",
            "user add reader:r3ad",
            "user grant-role reader reader",
            "auth enable",
        ):
            with suppress(AssertionError):  # the role root is there already
                server.ctl(*words.split())
        root = connect(server.url, Credentials(username="root", password="s3cret"))
        await put(root, "/a", b"1")
        (directory / "password").write_text("r3ad\nwhatever follows\n")
        reader = connect(server.url, Credentials(username="reader", password_file=f"{directory}/password"))
        listing = await reader.list("/a")
        assert len(listing.items) == 1
        with pytest.raises(DatastoreError, match="permission denied"):
            await put(reader, "/a")
        with pytest.raises(DatastoreError, match="wrong user or password") as caught:
            await connect(server.url, Credentials(username="root", password="guess")).get("/a")
        assert "guess" not in str(caught.value)
        with pytest.raises(DatastoreError, match="it wants a user and a password"):
            await connect(server.url).get("/a")

        # etcd forgets tokens that were not used for a second, and all of them when it starts again.
        async with aclosing(reader.watch("/a", listing.revision + 1)) as watch:
            await anext(watch)
            await asyncio.sleep(2.5)
            assert await reader.get("/a") is not None
            revision = await put(root, "/a", b"2")
            async with asyncio.timeout(5):
                while not (batch := await anext(watch)).events:
                    pass
            assert batch.revision == revision
        server.stop()
        server.start()
        await heals(root, "/a")
        assert await reader.get("/a") is not None

    def test_secrets_are_not_shown(self) -> None:
        shown = repr(Credentials(username="root", password="s3cret", key="PRIVATE"))
        assert "s3cret" not in shown and "PRIVATE" not in shown and "root" not in shown  # noqa: PT018


class TestAddresses:
    @pytest.mark.parametrize(
        "url", ["etcd://", "etcd://a b", "etcd://a:0", "etcd://a:70000", "etcd://a,,b", "etcd://::1", "etcd+srv://a/b"]
    )
    def test_an_address_that_cannot_be(self, url: str) -> None:
        with pytest.raises(UsageError, match="datastore "):
            open_datastore(url)

    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("etcd://store", "store:2379"),
            ("etcds://10.0.0.1:1234", "10.0.0.1:1234"),
            ("etcd://[fd00::1]:2379", "[fd00::1]:2379"),
            ("etcd://[fd00::1]", "[fd00::1]:2379"),
        ],
    )
    async def test_addresses(self, url: str, address: str) -> None:
        assert await members.Members(url).next() == address

    async def test_members_by_dns(self, server: EtcdServer, connect: Connect, name_server: list[str]) -> None:
        name_server += [
            f"_etcd-client._tcp.cluster.test. 60 IN SRV 0 0 {server.client_port} localhost.",
            "_etcd-client._tcp.cluster.test. 60 IN SRV 5 0 1 second.test.",
        ]
        found = members.Members("etcd+srv://cluster.test")
        assert [await found.next(), await found.next()] == [f"localhost:{server.client_port}", "second.test:1"]
        assert await connect("etcd+srv://cluster.test").get("/a") is None
        with pytest.raises(Unavailable, match=r"no SRV records of _etcd-client-ssl\._tcp\.cluster\.test"):
            await connect("etcds+srv://cluster.test").get("/a")

    async def test_a_name_that_nobody_knows(self, connect: Connect) -> None:
        with pytest.raises(Unavailable, match=r"datastore etcd://nobody\.invalid:2379"):
            await connect("etcd://nobody.invalid:2379").get("/a")

    async def test_what_answers_is_no_etcd(self, connect: Connect) -> None:
        class Hello(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                self.request.sendall(b"SSH-2.0-hello\r\n")

        with socketserver.TCPServer((LOOPBACK, 0), Hello) as other:
            thread = threading.Thread(target=other.serve_forever)
            thread.start()
            try:
                with pytest.raises(DatastoreError, match=f"datastore etcd://{LOOPBACK}"):
                    await connect(f"etcd://{LOOPBACK}:{other.server_address[1]}").get("/a")
            finally:
                other.shutdown()
                thread.join()


async def test_bookmarks_raise_the_revision_of_an_idle_watch(server: EtcdServer, connect: Connect) -> None:
    store = connect(server.url)
    listing = await store.list("/p/")
    async with asyncio.timeout(20), aclosing(store.watch("/p/", listing.revision + 1)) as watch:
        assert await anext(watch) == Batch((), listing.revision)
        last = await put(store, "/q/elsewhere")
        async for batch in watch:
            assert batch.events == ()
            if batch.revision >= last:
                break
