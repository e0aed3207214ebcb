"""Tests of dipc_aio.py."""

import asyncio
import contextlib
import os
import unittest

import dipc
import dipc_aio
from support import ALL_BYTES, PORT, TIMEOUT, UNIX, Server, require_server

setUpModule = require_server


def connect(port=PORT, **options):
    return dipc_aio.connect(int(port), timeout=TIMEOUT, **options)


class Aio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.m, self.other = await connect(name="aio"), await connect()
        await self.m.write(3, b"first")

    async def asyncTearDown(self):
        await self.m.close()
        await self.other.close()

    async def wait_for_stat(self, name, value, port=PORT):
        """Waits until `stat` of mailbox 3 has this value."""
        async with connect(port) as watcher:
            async def is_reached():
                while (await watcher.stat(3))[name] != value:
                    pass
            await asyncio.wait_for(is_reached(), TIMEOUT)

    async def test_the_verbs_of_mailboxes(self):
        version = await self.m.write(3, ALL_BYTES)
        message = await self.m.read(3)
        self.assertEqual((message, message.version, message.count), (ALL_BYTES, version, 1))
        self.assertEqual(await self.m.read(3, off=1, len=2), b"\x01\x02")
        with self.assertRaises(dipc.Conflict) as conflict:
            await self.m.write(3, b"x", if_version=version - 1)
        self.assertEqual(conflict.exception.version, version)
        put = await self.m.put(3, "text")
        self.assertEqual((put, put.count), (version + 1, 2))
        self.assertEqual([await self.m.take(3), await self.m.take(3)], [ALL_BYTES, b"text"])
        with self.assertRaises(dipc.Empty):
            await self.m.take(3, wait=0)
        with self.assertRaises(dipc.Timeout):
            await self.m.read(3, after=version + 1, wait=0)
        with self.assertRaises(dipc.Refused):
            await self.m.read(99)
        await self.m.ping()
        self.assertFalse(self.m.closed)

    async def test_names(self):
        await self.m.set_name(3, "jobs")
        try:
            self.assertEqual((await self.m.name(3), await self.m.names()), ("jobs", {3: "jobs"}))
            self.assertEqual((await self.m.number("jobs"), await self.m.read("jobs")), (3, b"first"))
            watch = await self.m.watch("jobs")
            async with self.m.lock("jobs", 1) as lock:
                self.assertEqual(lock.boxes, [3, 1])
                await self.m.set_name("jobs", None)
                await self.m.set_name(0, "jobs")
            self.assertEqual((await self.other.stat())["locks_held"], 0)
            async with self.m.job(3) as job:
                self.assertEqual(job.box, 3)
            await self.other.write("jobs", b"not watched")
            await self.other.write(3, b"watched")
            event = await watch.__anext__()
            self.assertEqual((event.box, event.data), (3, b"watched"))
            async with self.m.job("jobs") as job:
                self.assertEqual((job.box, job.data), (0, b"not watched"))
            await self.m.unwatch(3)
            with self.assertRaises(dipc.NameTaken):
                await self.m.set_name(1, "jobs")
            with self.assertRaises(ValueError):
                self.m.lock("two words")
            with self.assertRaises(dipc.Refused):
                await self.m.watch("nobody")
        finally:
            await self.other.set_name(3, None)
            await self.other.set_name(0, None)

    async def test_the_verbs_of_the_server(self):
        self.assertEqual((await self.m.hello())["boxes"], 4)
        self.assertEqual((await self.m.stat())["mailboxes"], 4)
        self.assertEqual((await self.m.stat(3))["mailbox"], 3)
        self.assertIn("aio", [conn["name"] for conn in await self.m.stat("conns")])
        self.assertIn("take BOX", await self.m.help())
        if UNIX:
            async with dipc_aio.connect(unix=UNIX) as m:
                self.assertEqual(await m.read(3), b"first")

    async def test_several_tasks_use_one_connection(self):
        answers = await asyncio.gather(*(self.m.read(3, len=number % 6) for number in range(200)))
        self.assertEqual(answers, [b"first"[:number % 6] for number in range(200)])

    async def test_a_take_waits_for_a_put(self):
        await self.m.take(3)
        take = asyncio.ensure_future(self.m.take(3))
        await self.wait_for_stat("aside", 1)
        await self.other.put(3, b"job")
        self.assertEqual(await take, b"job")

    async def test_a_lock_excludes_other_clients(self):
        async with self.m.lock(0, 3) as lock:
            self.assertEqual(lock.boxes, [0, 3])
            with self.assertRaises(dipc.Locked):
                await self.other.lock(3, wait=0)
        lock = await self.other.lock(3, wait=0)
        await lock.unlock()
        async with await self.m.lock(3, shared=True), self.other.lock(3, shared=True):
            with self.assertRaises(dipc.Denied):
                await self.m.write(3, b"x")
        with self.assertRaises(dipc.LockLost):
            await self.m.unlock(3)

    async def test_a_lost_lock_is_told(self):
        with self.assertRaises(dipc.LockLost):
            async with self.m.lock(3, ttl=0.02) as lock:
                await self.other.write(3, b"in between", wait=TIMEOUT)
        self.assertTrue(lock.lost)
        with self.assertRaises(ZeroDivisionError):
            async with self.m.lock(3):
                1 / 0
        await self.other.write(3, b"free", wait=0)

    async def test_a_job_is_removed_at_the_end_of_the_block(self):
        async with self.m.job(3) as job:
            self.assertEqual((job.data, job.tries, job.count), (b"first", 1, 1))
            with self.assertRaises(dipc.Empty):
                await self.other.job(3, wait=0)
        self.assertEqual((await self.m.read(3)).count, 0)
        await self.m.put(3, b"next")
        with self.assertRaises(ZeroDivisionError):
            async with self.m.job(3, ttl=60):
                1 / 0
        message = await self.other.take(3, ttl=60)
        self.assertEqual((message, message.tries), (b"next", 2))
        with self.assertRaises(dipc.JobLost):
            await self.m.done(3, message.version)
        await self.other.back(3, message.version)
        job = await self.other.job(3)
        await job.back()
        await job.done()
        self.assertEqual((await self.m.take(3), (await self.m.read(3)).count), (b"next", 0))

    async def test_a_lost_job_is_told(self):
        with self.assertRaises(dipc.JobLost):
            async with self.m.job(3, ttl=0.02) as job:
                await (await self.other.job(3, wait=TIMEOUT)).back()
        self.assertTrue(job.lost)
        job = await self.m.job(3)
        await self.m.reconnect()
        self.assertTrue(job.lost)
        with self.assertRaises(dipc.JobLost):
            await job.done()
        self.assertEqual(await self.m.done(3, (await self.m.take(3, ttl=60)).version), 0)

    async def test_a_job_taken_again_is_another_job(self):
        first = await self.m.job(3)
        back, again = asyncio.ensure_future(first.back()), asyncio.ensure_future(self.m._job(3, None, None))
        await back
        second = await again
        self.assertEqual((second.version, second.tries, second.lost), (first.version, 2, False))
        self.assertEqual(self.m._jobs, {(3, second.version): second})
        await second.done()

    async def test_a_watch_returns_new_messages(self):
        watch = await self.m.watch(0, 3)
        before = watch.versions[3]
        for number in range(100):
            await self.other.put(3, b"%d" % number, drop=True)
        events = [await watch.__anext__() for _ in range(100)]
        self.assertEqual([event.data for event in events], [b"%d" % number for number in range(100)])
        self.assertEqual((events[0].version, watch.versions[3]), (before + 1, before + 100))
        waiting = asyncio.ensure_future(watch.__anext__())
        await self.other.write(0, b"late")
        event = await waiting
        self.assertEqual((event.box, event.data), (0, b"late"))
        resumed = await self.other.watch(0, 3, after=watch.versions)
        await self.m.write(3, b"more")
        self.assertEqual((await resumed.__anext__()).data, b"more")
        waiting = asyncio.ensure_future(watch.__anext__())
        self.assertEqual((await waiting).data, b"more")
        await self.m.unwatch()
        self.assertEqual([event async for event in watch], [])

    async def test_a_cancelled_request_closes_the_connection_and_keeps_the_message(self):
        await self.m.take(3)
        take = asyncio.ensure_future(self.m.take(3, wait=float("inf")))
        await self.wait_for_stat("aside", 1)
        take.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await take
        self.assertTrue(self.m.closed)
        with self.assertRaisesRegex(ConnectionError, "cancelled"):
            await self.m.ping()
        await self.wait_for_stat("aside", 0)
        await self.other.put(3, b"kept")
        self.assertEqual(await self.other.take(3, wait=0), b"kept")

    async def test_a_silent_server_is_a_timeout(self):
        async with dipc_aio.connect(int(PORT), timeout=0.05) as m, self.m.lock(3):
            with self.assertRaises(TimeoutError) as timeout:
                await m.write(3, b"x")
            self.assertNotIsInstance(timeout.exception, dipc.DipcError)
            self.assertTrue(m.closed)

    async def test_a_lost_server_is_an_error_and_no_request_is_repeated(self):
        server = Server(self)
        async with connect(server.port) as m:
            watch = await m.watch(0)
            lock = await m.lock(1)
            take = asyncio.ensure_future(m.take(3, wait=float("inf")))
            await self.wait_for_stat("aside", 1, server.port)
            server.restart()
            for waiting in (take, watch.__anext__(), m.ping(), lock.unlock()):
                with self.assertRaises((ConnectionError, dipc.LockLost)):
                    await waiting
            self.assertTrue(m.closed and lock.lost)
        with server.connect() as other:
            self.assertEqual(other.stat()["takes"], 0)

    @unittest.skipUnless(hasattr(os, "fork"), "this system has no fork")
    async def test_a_connection_belongs_to_the_process_that_made_it(self):
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                try:
                    self.m.ping().send(None)
                except ConnectionError as error:
                    os._exit(0 if "before a fork" in str(error) else 1)
            os._exit(1)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        await self.m.ping()

    async def test_both_clients_have_the_same_verbs_with_the_same_arguments(self):
        def verbs(kind):
            return {name for name in vars(kind) if not name.startswith("_")}

        self.assertEqual(verbs(dipc_aio.Mailboxes), verbs(dipc.Mailboxes) - {"open", "local", "local_error"})
        for name in verbs(dipc_aio.Mailboxes):
            ours, theirs = (getattr(module.Mailboxes, name).__code__ for module in (dipc_aio, dipc))
            count = ours.co_argcount + ours.co_kwonlyargcount
            self.assertEqual(ours.co_varnames[:count], theirs.co_varnames[:count], name)


class Restart(unittest.IsolatedAsyncioTestCase):
    async def test_follow_goes_on_after_a_restart(self):
        server, notes = Server(self), []
        async with connect(server.port, name="tester") as m, contextlib.AsyncExitStack() as stack:
            events = m.follow(3, after=0, note=notes.append)
            await m.put(3, b"a")
            self.assertEqual(await events.__anext__(), (1, b"a"))
            lock = await m.lock(1)
            server.restart()
            other = await stack.enter_async_context(connect(server.port))
            for data in (b"lost", b"z"):
                await other.write(3, data)
            event = await asyncio.wait_for(events.__anext__(), TIMEOUT)
            self.assertEqual((event, event.lost), ((3, b"z"), 1))
            self.assertTrue(lock.lost)
            self.assertRegex(notes[0], "^the connection is lost, connecting again: .")
            self.assertEqual(notes[1:], ["connected again"])
            self.assertIn("tester", [conn["name"] for conn in await other.stat("conns")])
            server.restart(15, "--fresh")
            async with connect(server.port) as fresh:
                await fresh.write(3, b"new")
            self.assertEqual(await asyncio.wait_for(events.__anext__(), TIMEOUT), (1, b"new"))
            self.assertIn("the mailboxes are new", notes[-1])
            await events.aclose()

    async def test_a_closed_connection_is_not_opened_again(self):
        server = Server(self)
        m = await connect(server.port)
        await m.close()
        with self.assertRaises(ConnectionError):
            await m.reconnect()
