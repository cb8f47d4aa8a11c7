"""The embedded registry over HTTP, for development: in this process, or ``python -m reactor registry serve``."""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from reactor.core import MissingExtra
from reactor.registry.errors import RegistryError
from reactor.registry.store import Store

if TYPE_CHECKING:
    import uvicorn


def server(
    store: Store, listener: socket.socket, auth: tuple[str, str] | None = None, *, signals: bool = False
) -> uvicorn.Server:
    """Return the server, which isn't running yet. Raises MissingExtra."""
    try:
        import uvicorn

        for module in ("fastavro", "google.protobuf"):
            importlib.import_module(module)

        from reactor.registry.app import app
    except ImportError:
        raise MissingExtra("The embedded schema registry", "registry") from None

    class Server(uvicorn.Server):
        """Signals are for the process that started this one."""

        def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
            return super().capture_signals() if signals else nullcontext()

    config = uvicorn.Config(
        *(app(store, auth),),
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=2,
    )
    return Server(config)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket whose callers wait until they are served; port 0: a free one. Raises RegistryError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sets TCP_NODELAY: else each answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise RegistryError(f"{host}:{port}: {error.strerror}; choose another port") from error
    return listener


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def serve_until_stopped(store: str, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serve until a signal says stop; ``ready`` is told the URL. Raises RegistryError, MissingExtra."""
    kept = Store(store)
    try:
        with listen(host, port) as listener:
            running = server(kept, listener, signals=True)
            ready(url_of(listener))
            asyncio.run(running.serve(sockets=[listener]))
    except KeyboardInterrupt:
        pass  # that is how it ends
    finally:
        kept.close()


@asynccontextmanager
async def serve(
    store: str, *, host: str = "127.0.0.1", port: int = 0, auth: tuple[str, str] | None = None
) -> AsyncGenerator[str, None]:
    """Serve the schemas in ``store`` (``sqlite:shop.db``) while the block runs; gives the registry's URL.

    ``auth`` is the user and password that it asks for. Needs asyncio. Raises RegistryError.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        what = "registry.serve() needs asyncio; on trio, run python -m reactor registry serve"
        raise RegistryError(what) from None
    kept = await asyncio.to_thread(Store, store)
    try:
        listener = listen(host, port)
        try:
            running = server(kept, listener, auth)
            task: asyncio.Task[Any] = asyncio.create_task(running.serve(sockets=[listener]))
            try:
                while not running.started and not task.done():  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                yield url_of(listener)
            finally:
                running.should_exit = True
                await asyncio.shield(task)
        finally:
            listener.close()
    finally:
        kept.close()
