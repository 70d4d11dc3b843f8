"""The API process: `python -m app.api_process`, or `luthier api`."""

import sys
from importlib import import_module

import uvicorn

from app.http_server.descriptors import reserve_descriptors
from app.http_server.protocol import MAX_CONNECTIONS, BoundedHttpProtocol
from app.importing import without_garbage_collection
from app.process_hardening import forbid_inspection
from app.settings import Settings

# By name: it is above this module, which starts it.
APPLICATION = "app.main"
# A tenth of Python's own: the event loop waits this long for each thread that is running.
SWITCH_INTERVAL_SECONDS = 0.0005


def main() -> None:
    """Serve until a signal arrives. Raises ValidationError."""
    settings = Settings()
    forbid_inspection()
    sys.setswitchinterval(SWITCH_INTERVAL_SECONDS)
    BoundedHttpProtocol.max_connections = reserve_descriptors(MAX_CONNECTIONS)
    with without_garbage_collection():
        import_module(APPLICATION)
    uvicorn.run(
        f"{APPLICATION}:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        http=BoundedHttpProtocol,
        # A WebSocket upgrade would bypass the admission middleware.
        ws="none",
        # Keep the app's own logging: one JSON object per line, no query strings.
        log_config=None,
        access_log=False,
        server_header=False,
        # Any client can send a forwarding header; the middleware reads that of a trusted proxy.
        proxy_headers=False,
        backlog=2048,
        # Longer than load balancers keep idle connections: reusing one while it is closed here
        # would cause a 502 there.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
    )


if __name__ == "__main__":
    main()
