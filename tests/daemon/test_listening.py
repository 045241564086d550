"""The socket that the control plane listens on."""

import asyncio
import socket

from daemon.app import listening
from tests.waiting import DEADLINE_S


async def test_answers_wait_for_no_acknowledgement() -> None:
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[int] = loop.create_future()

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            connection = transport.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    listener = listening("127.0.0.1", 0)
    async with await loop.create_server(Accepting, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname())
        async with asyncio.timeout(DEADLINE_S):
            assert await accepted
        writer.close()
        await writer.wait_closed()
