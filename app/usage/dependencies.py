"""FastAPI dependency on the operator's prices."""

from typing import Annotated

from fastapi import Depends, Request

from app.usage.prices import Prices


# Async, because FastAPI would run a plain function in a worker thread.
async def get_prices(request: Request) -> Prices:
    prices: Prices = request.app.state.prices
    return prices


PricesDep = Annotated[Prices, Depends(get_prices)]
