"""What a driver needs of a network, and one that lives in memory.

A transport carries whole messages between named clients and the server. It may lose, repeat, reorder and delay them:
the round survives that as drop-out. One end serves one round: a message of an earlier round that arrives in a later one
makes the client leave it. Connections should be authenticated and encrypted (TLS with client certificates, say): the
round protects its contents from the server itself, not from traffic analysis on the way.

Four protocols, by side and by color of function; `MemoryNetwork` and `AsyncMemoryNetwork` implement them for tests,
demonstrations and threads.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Iterable
from typing import Protocol

from secagg.types import ClientId


class ServerTransport(Protocol):
    """The server's end."""

    def send(self, client: ClientId, data: bytes) -> None:
        """Deliver, or try to, without waiting for the client to read."""
        ...

    def receive(self, timeout: float) -> tuple[str, bytes] | None:
        """Return the next (sender, message), the sender as authenticated; None after `timeout` seconds of nothing."""
        ...


class ClientTransport(Protocol):
    """A client's end."""

    def send(self, data: bytes) -> None:
        """Deliver to the server, or try to."""
        ...

    def receive(self, timeout: float) -> bytes | None:
        """Return the server's next message; None after `timeout` seconds of nothing."""
        ...


class AsyncServerTransport(Protocol):
    """The server's end, for asyncio."""

    async def send(self, client: ClientId, data: bytes) -> None:
        """See ServerTransport."""
        ...

    async def receive(self) -> tuple[str, bytes]:
        """Return the next (sender, message); may be cancelled while it waits without losing one."""
        ...


class AsyncClientTransport(Protocol):
    """A client's end, for asyncio."""

    async def send(self, data: bytes) -> None:
        """See ClientTransport."""
        ...

    async def receive(self) -> bytes:
        """Return the server's next message; may be cancelled while it waits without losing one."""
        ...


class MemoryNetwork:
    """Queues between one server and its clients, safe between threads."""

    def __init__(self, clients: Iterable[str]) -> None:
        self._up: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._down: dict[str, queue.SimpleQueue[bytes]] = {name: queue.SimpleQueue() for name in clients}

    @property
    def server(self) -> ServerTransport:
        """The server's end."""
        return _MemoryServer(self._up, self._down)

    def client(self, name: str) -> ClientTransport:
        """A client's end."""
        return _MemoryClient(name, self._up, self._down[name])


class _MemoryServer:
    def __init__(self, up: queue.SimpleQueue[tuple[str, bytes]], down: dict[str, queue.SimpleQueue[bytes]]) -> None:
        self._up = up
        self._down = down

    def send(self, client: ClientId, data: bytes) -> None:
        self._down[client].put(data)

    def receive(self, timeout: float) -> tuple[str, bytes] | None:
        try:
            return self._up.get(timeout=timeout)
        except queue.Empty:
            return None


class _MemoryClient:
    def __init__(self, name: str, up: queue.SimpleQueue[tuple[str, bytes]], down: queue.SimpleQueue[bytes]) -> None:
        self._name = name
        self._up = up
        self._down = down

    def send(self, data: bytes) -> None:
        self._up.put((self._name, data))

    def receive(self, timeout: float) -> bytes | None:
        try:
            return self._down.get(timeout=timeout)
        except queue.Empty:
            return None


class AsyncMemoryNetwork:
    """Queues between one server and its clients, within one event loop."""

    def __init__(self, clients: Iterable[str]) -> None:
        self._up: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self._down: dict[str, asyncio.Queue[bytes]] = {name: asyncio.Queue() for name in clients}

    @property
    def server(self) -> AsyncServerTransport:
        """The server's end."""
        return _AsyncMemoryServer(self._up, self._down)

    def client(self, name: str) -> AsyncClientTransport:
        """A client's end."""
        return _AsyncMemoryClient(name, self._up, self._down[name])


class _AsyncMemoryServer:
    def __init__(self, up: asyncio.Queue[tuple[str, bytes]], down: dict[str, asyncio.Queue[bytes]]) -> None:
        self._up = up
        self._down = down

    async def send(self, client: ClientId, data: bytes) -> None:
        await self._down[client].put(data)

    async def receive(self) -> tuple[str, bytes]:
        return await self._up.get()


class _AsyncMemoryClient:
    def __init__(self, name: str, up: asyncio.Queue[tuple[str, bytes]], down: asyncio.Queue[bytes]) -> None:
        self._name = name
        self._up = up
        self._down = down

    async def send(self, data: bytes) -> None:
        await self._up.put((self._name, data))

    async def receive(self) -> bytes:
        return await self._down.get()
