"""httpx's functions with time for machines of any speed: its own give up after 5 s."""

from functools import partial

import httpx

SECONDS = 120

get = partial(httpx.get, timeout=SECONDS)
head = partial(httpx.head, timeout=SECONDS)
options = partial(httpx.options, timeout=SECONDS)
post = partial(httpx.post, timeout=SECONDS)
