"""dipc_aio.py: a client of dipc for asyncio, with the verbs of dipc.py. Needs dipc.py and Python 3.8.

    import dipc_aio
    async with dipc_aio.connect(5000) as m:
        version = await m.write(3, b"any bytes, or text")
        message = await m.read(3)
        await m.put(2, "a job")
        await m.take(2, wait=5)
        async with m.job(2) as job:     # removed at the end of the block, or given back after an exception
            print(job.data)
        async with m.lock(3, 4):        # exclusive; released when this process ends, even by kill -9
            await m.write(4, await m.read(3))
        async for version, data in await m.watch(3):
            print(version, data)

Arguments, results and exceptions are those of dipc.py. Several tasks may use a connection at once: the server
answers their requests in the order of the calls, so a request that waits delays the later ones. A task whose
requests wait, as take does, needs a connection of its own.

A cancelled request closes the connection, also in asyncio.wait_for: its answer would still arrive, and with it
perhaps a message that was taken. Use wait= to limit the time of a request.

dipc.py is one file and not a package, so there is no dipc.aio.
"""

import asyncio
import collections
import contextlib
import functools
import os
import socket
import time
from typing import (Any, AsyncContextManager, AsyncIterator, Callable, Coroutine, Deque, Generator, Generic,
                    Dict, Iterable, NamedTuple, Optional, Tuple, Type, TypeVar, cast)

import dipc
from dipc import Box, DipcError, Event, Fields, Message, Put, Refused, _line, _list, _seconds

Opened = TypeVar("Opened", bound=AsyncContextManager[Any])
Streams = Tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Opening(Generic[Opened]):
    """A connection, a lock or a job that is not made yet: `await` and `async with` make it."""

    def __init__(self, opening: Coroutine[Any, Any, Opened]) -> None:
        self._opening = opening
        self._opened: Optional[Opened] = None

    def __await__(self) -> Generator[Any, None, Opened]:
        return self._opening.__await__()

    async def __aenter__(self) -> Opened:
        self._opened = await self._opening
        return self._opened

    async def __aexit__(self, *exception: Any) -> None:
        if self._opened is not None:
            await self._opened.__aexit__(*exception)


def connect(port: Optional[int] = None, host: str = "127.0.0.1", unix: Optional[str] = None,
            timeout: Optional[float] = None, name: Optional[str] = None) -> "_Opening[Mailboxes]":
    """Connects to a server by its TCP port or by the path of its Unix socket. Raises OSError if this fails.

    timeout: longest time in seconds for connecting, and for the answer to a request. It has to exceed every
    wait. None: no limit. name: the name of this connection in `stat`.
    """
    return _Opening(_connect(port, host, unix, timeout, name))


async def _connect(port: Optional[int], host: str, unix: Optional[str], timeout: Optional[float],
                   name: Optional[str]) -> "Mailboxes":
    dipc._require_address(port, unix)

    async def open_streams() -> Streams:
        opening = asyncio.open_connection(host, port) if unix is None else asyncio.open_unix_connection(unix)
        try:
            reader, writer = await asyncio.wait_for(opening, timeout)
        except asyncio.TimeoutError:
            raise TimeoutError("the server was silent for too long") from None
        if unix is None:
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return reader, writer

    mailboxes = Mailboxes(*await open_streams(), timeout, open_streams)
    if name is not None:
        try:
            await mailboxes.hello(name)
        except BaseException:
            await mailboxes.close()
            raise
    return mailboxes


class _Asked(NamedTuple):
    """A request whose answer has not arrived. shape, number: its kind and numeric fields."""

    result: "asyncio.Future[Tuple[Fields, bytes]]"
    shape: str
    number: Type[object]
    then: Callable[[Fields], None]


class Mailboxes(dipc._Connection):
    """A connection to the mailboxes of one server. It closes at the end of an `async with`.

    Methods raise the exceptions of dipc.Mailboxes. After a ConnectionError, a TimeoutError that is no
    dipc.Timeout, or a cancellation the connection is .closed. No request is repeated.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter,
                 timeout: Optional[float] = None,
                 open_again: Optional[Callable[[], Coroutine[Any, Any, Streams]]] = None) -> None:
        super().__init__()
        self._reader, self._writer, self._timeout = reader, writer, timeout
        self._open_again, self._name = open_again, cast(Optional[str], None)
        self._asked: Deque[_Asked] = collections.deque()  # requests without an answer, oldest first
        self._arrived = asyncio.Event()  # wakes the watches; there is a new one after each arrival
        self._error: Exception = ConnectionError("the connection is closed")
        self._receiving = asyncio.ensure_future(self._receive())

    async def read(self, box: Box, off: Optional[int] = None, len: Optional[int] = None,
                   wait: Optional[float] = None, after: Optional[int] = None) -> Message:
        request = _line("r", box, after=after, off=off, len=len, wait=_seconds(wait))
        return dipc._message(*await self._ask("DATA v n", request))

    async def write(self, box: Box, data: dipc.Data, if_version: Optional[int] = None,
                    off: Optional[int] = None, wait: Optional[float] = None) -> int:
        request = dipc._write_request(box, data, if_version, off, wait)
        version: int = (await self._ask("OK v", request))[0]["v"]
        return version

    async def put(self, box: Box, data: dipc.Data, drop: bool = False, wait: Optional[float] = None) -> Put:
        fields = (await self._ask("OK v n", dipc._put_request(box, data, drop, wait)))[0]
        return Put(fields["v"], fields["n"])

    async def take(self, box: Box, wait: Optional[float] = None, ttl: Optional[float] = None) -> Message:
        request = dipc._take_request(box, wait, _seconds(ttl))
        return dipc._message(*await self._ask("DATA v n" if ttl is None else "DATA v n tries", request))

    def job(self, box: Box, ttl: Optional[float] = None, wait: Optional[float] = None) -> "_Opening[Job]":
        """Takes a message in hand until the end of an `async with`. With `await`, until done or back."""
        dipc._take_request(box, wait, _seconds(ttl))  # raises ValueError here, and not in the await
        return _Opening(self._job(box, ttl, wait))

    async def _job(self, box: Box, ttl: Optional[float], wait: Optional[float]) -> "Job":
        job = Job(self, await self.number(box))
        request = dipc._take_request(job.box, wait, _seconds(ttl) or "")
        begin = functools.partial(self._start_job, job)
        _, job.data = await self._ask("DATA v n tries", request, then=begin)
        return job

    async def done(self, box: Box, version: int) -> int:
        box = await self.number(box)
        with self._ending_job(box, version):
            count: int = (await self._ask("OK n", _line("done", box, v=version)))[0]["n"]
        return count

    async def back(self, box: Box, version: int) -> None:
        box = await self.number(box)
        with self._ending_job(box, version):
            await self._ask("OK", _line("back", box, v=version))

    def lock(self, *boxes: Box, shared: bool = False, ttl: Optional[float] = None,
             wait: Optional[float] = None) -> "_Opening[Lock]":
        """Locks these mailboxes until the end of an `async with`. With `await`, until an unlock."""
        dipc._lock_request(boxes, shared, ttl, wait)  # raises ValueError here, and not in the await
        return _Opening(self._lock(boxes, shared, ttl, wait))

    async def _lock(self, boxes: Tuple[Box, ...], shared: bool, ttl: Optional[float],
                    wait: Optional[float]) -> "Lock":
        numbers, locks = await self._numbers(boxes), []
        request = dipc._lock_request(numbers, shared, ttl, wait)

        def begin(fields: Fields) -> None:
            locks.append(Lock(self, numbers, fields["grant"]))
            self._locks.update(dict.fromkeys(numbers, locks[0]))

        await self._ask("OK grant", request, then=begin)
        return locks[0]

    async def unlock(self, *boxes: Box, grant: Optional[int] = None) -> None:
        numbers, lost = await self._numbers(boxes), None
        try:
            await self._ask("OK", _line("unlock " + (_list(numbers) if numbers else "*"), grant=grant))
        except dipc.LockLost as error:
            if numbers:
                raise
            lost = error  # one lock was lost; the others are unlocked
        self._end_locks(numbers, grant)
        if lost:
            raise lost

    async def watch(self, *boxes: Box, after: dipc.After = None) -> "Watch":
        watch, numbers = Watch(self), await self._numbers(boxes)
        for group, request in dipc._watch_requests(numbers, dipc._by_number(boxes, numbers, after)):
            begin = functools.partial(self._start_watch, watch, group)
            try:
                await self._ask("OK v", request, str if group[1:] else int, begin)
            except DipcError:
                if watch.versions:
                    await self.unwatch(*watch.versions)
                raise
        return watch

    async def follow(self, *boxes: Box, after: dipc.After = None, patience: float = dipc.RECONNECT,
                     note: Callable[[str], None] = lambda text: None) -> AsyncIterator[Event]:
        """Iterates over new messages, and goes on after the connection is lost; see dipc.Mailboxes.follow."""
        life = (await self.hello()).get("life")
        numbers = await self._numbers(boxes)
        watch = await self._watch_from(numbers, dipc._by_number(boxes, numbers, after), note)
        while True:
            try:
                async for event in watch:
                    yield event
                return
            except (OSError, Refused) as error:
                if not self._open_again or isinstance(error, Refused) and error.code not in dipc.CLOSING:
                    raise
                note("the connection is lost, connecting again: %s" % error)
            current = (await self._await_server(patience)).get("life")
            if current == life:
                note("connected again")
                watch = await self._watch_from(numbers, watch.versions, note)
            else:
                life = current
                note("connected again; the mailboxes are new: starting with the oldest message")
                numbers = await self._numbers(boxes)
                watch = await self._watch_from(numbers, 0, note)

    async def _watch_from(self, boxes: Tuple[int, ...], after: dipc.After,
                          note: Callable[[str], None]) -> "Watch":
        try:
            return await self.watch(*boxes, after=after)
        except dipc.Ahead:
            note("version %s was never reached here, the mailboxes are new: starting with the oldest message"
                 % after)
            return await self.watch(*boxes, after=0)

    async def _await_server(self, patience: float) -> Fields:
        """Connects again. Tries it for `patience` seconds. Returns the server's properties."""
        deadline, pause = time.monotonic() + patience, 0.05
        while True:
            try:
                await self.reconnect()
                return await self.hello()
            except (OSError, Refused) as error:
                is_final = isinstance(error, Refused) and error.code not in dipc.CLOSING
                if is_final or time.monotonic() + pause > deadline:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1)

    async def reconnect(self) -> None:
        """Connects again to the same server, also in a process that was forked; see dipc.Mailboxes.reconnect."""
        if not self._open_again:
            raise ConnectionError("the connection is closed")
        self._end(ConnectionError("the connection is closed"))
        self._reader, self._writer = await self._open_again()
        self._received, self.closed, self._process = bytearray(), False, os.getpid()
        self._has_spoken = False
        self._receiving = asyncio.ensure_future(self._receive())
        if self._name is not None:
            await self.hello(self._name)

    async def unwatch(self, *boxes: Box) -> None:
        numbers = await self._numbers(boxes)
        await self._ask("OK", _line("unwatch " + (_list(numbers) if numbers else "*")))
        for box in numbers or list(self._watches):
            self._remove(box)
        self._wake()

    async def set_name(self, box: Box, name: Optional[str]) -> None:
        await self._ask("OK", dipc._name_request(box, name))

    async def name(self, box: Box) -> Optional[str]:
        return dipc._name((await self._ask("OK", _line("name", box)))[0])

    async def names(self) -> Dict[int, str]:
        return dipc._names(await self.stat("names"))

    async def number(self, box: Box) -> int:
        """Returns the number of the mailbox that has this name now; see dipc.Mailboxes.number."""
        known = dipc._known_number(box)
        if known is None:
            known = dipc._number_of((await self._ask("DATA", _line("stat box", box)))[1])
        return known

    async def _numbers(self, boxes: Iterable[Box]) -> Tuple[int, ...]:
        return tuple([await self.number(box) for box in boxes])

    async def ping(self) -> None:
        await self._ask("OK", _line("ping"))

    async def hello(self, name: Optional[str] = None, token: Optional[str] = None) -> Fields:
        fields = (await self._ask("OK", _line("hello", name=name, token=token)))[0]
        self._name = self._name if name is None else name
        return fields

    async def stat(self, topic: Optional[Box] = None) -> Any:
        fields, text = await self._ask("DATA", dipc._stat_request(topic))
        while "more" in fields:  # the server answers long statistics in parts
            fields, part = await self._ask("DATA", dipc._stat_request(topic, fields["more"]))
            text += part
        return dipc._statistics_of(topic, text.decode("utf-8", "replace"))

    async def help(self) -> str:
        return (await self._ask("DATA", _line("help")))[1].decode("utf-8", "replace")

    async def close(self) -> None:
        """Closes the connection. Does nothing if it is closed already."""
        self._open_again = None
        if not self.closed:
            self._require_usable()
            self._forget_owned()
            self._writer.write(_line("q"))
            self._end(ConnectionError("the connection is closed"))
        with contextlib.suppress(OSError):  # the connection may be lost
            await self._writer.wait_closed()

    async def __aenter__(self) -> "Mailboxes":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self.close()

    async def _ask(self, shape: str, request: bytes, number: Type[object] = int,
                   then: Callable[[Fields], None] = lambda fields: None) -> Tuple[Fields, bytes]:
        """Sends a request. Returns fields and data of its answer. shape: expected kind and numeric fields.

        then: is called with the fields of an OK, before anything that arrives after it is handled.
        """
        if self.closed:
            raise self._error
        self._require_usable()
        result: "asyncio.Future[Tuple[Fields, bytes]]" = asyncio.get_event_loop().create_future()
        greeting = self._greeting(request)
        if greeting:
            greeted: "asyncio.Future[Tuple[Fields, bytes]]" = asyncio.get_event_loop().create_future()
            greeted.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._asked.append(_Asked(greeted, "OK", str, lambda fields: None))
        self._asked.append(_Asked(result, shape, number, then))
        self._writer.write(greeting + request)
        try:
            return await asyncio.wait_for(result, self._timeout)
        except asyncio.TimeoutError as error:
            if isinstance(error, dipc.Timeout):
                raise
            self._end(TimeoutError("the server was silent for too long; the connection is closed"))
            raise self._error from None
        except asyncio.CancelledError:
            self._end(ConnectionError("a request was cancelled; the connection is closed"))
            raise

    async def _receive(self) -> None:
        """Receives answers and events until the connection ends."""
        try:
            while True:
                received = await self._reader.read(65536)
                if not received:
                    raise ConnectionError("the server closed the connection")
                self._received += received
                self._handle_received()
                self._wake()
        except (OSError, Refused) as error:
            self._end(error)

    def _handle_received(self) -> None:
        while True:
            self._buffer_events()
            if not self._asked:
                return self._handle_unsolicited()
            answer = self._parse()
            if not answer:
                return
            asked = self._asked.popleft()
            try:
                result = self._result(answer, asked.shape, asked.number)
                asked.then(result[0])
                if not asked.result.done():
                    asked.result.set_result(result)
            except (ConnectionError, DipcError) as error:
                if not asked.result.done():
                    asked.result.set_exception(error)
                if not isinstance(error, DipcError):
                    raise
                if isinstance(error, Refused) and error.code in dipc.CLOSING:
                    raise ConnectionError("the server closed the connection") from None

    def _end(self, error: Exception) -> None:
        """Closes the connection. Later requests, and those without an answer, raise this error."""
        if self.closed:
            return
        self._error = error
        self._lose()
        for asked in self._asked:
            if not asked.result.done():
                asked.result.set_exception(error)
        self._asked.clear()
        self._receiving.cancel()
        self._writer.close()
        self._wake()

    def _wake(self) -> None:
        self._arrived.set()
        self._arrived = asyncio.Event()


class Lock(dipc._Lock):
    """Locked mailboxes, as in dipc.Lock. They are unlocked at the end of an `async with`."""

    def __init__(self, mailboxes: Mailboxes, boxes: Iterable[int], grant: int) -> None:
        super().__init__(boxes, grant)
        self._mailboxes = mailboxes

    async def __aenter__(self) -> "Lock":
        return self

    async def __aexit__(self, exception: Any, *_: Any) -> None:
        with contextlib.suppress(*[DipcError, OSError] if exception else []):
            await self.unlock()

    async def unlock(self) -> None:
        """Unlocks the mailboxes that are still locked. Raises LockLost if the lock was lost."""
        boxes = self._take_boxes(self._mailboxes.closed)
        if boxes:
            await self._mailboxes.unlock(*boxes, grant=self.grant)


class Job(dipc._Job):
    """A message in hand, as in dipc.Job. The end of an `async with` removes it, or gives it back."""

    def __init__(self, mailboxes: Mailboxes, box: int) -> None:
        super().__init__(box)
        self._mailboxes = mailboxes

    async def __aenter__(self) -> "Job":
        return self

    async def __aexit__(self, exception: Any, *_: Any) -> None:
        if exception is None:
            return await self.done()
        with contextlib.suppress(DipcError, OSError):
            await self.back()

    async def done(self) -> None:
        """Removes the message. Does nothing if it was removed or given back. Raises JobLost if it was lost."""
        if self._must_end():
            await self._mailboxes.done(self.box, self.version)

    async def back(self) -> None:
        """Gives the message back. Does nothing if it was removed or given back. Raises JobLost if it was lost."""
        if self._must_end():
            await self._mailboxes.back(self.box, self.version)


class Watch(dipc._Watch):
    """Iterates over new messages with `async for`, as dipc.Watch does. The loop may be in several tasks."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        super().__init__()
        self._mailboxes = mailboxes

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self._is_lost:
                raise self._mailboxes._error
            if not self._boxes:
                raise StopAsyncIteration
            self._mailboxes._require_usable()
            await self._mailboxes._arrived.wait()
        return self._next_event()
