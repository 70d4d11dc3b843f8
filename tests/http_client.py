"""httpx's functions with a timeout for slow machines, instead of 5 s."""

from functools import partial

import httpx

TIMEOUT_SECONDS = 120

get = partial(httpx.get, timeout=TIMEOUT_SECONDS)
head = partial(httpx.head, timeout=TIMEOUT_SECONDS)
options = partial(httpx.options, timeout=TIMEOUT_SECONDS)
post = partial(httpx.post, timeout=TIMEOUT_SECONDS)
