"""The endpoints that requests of a batch can be for."""

from collections.abc import Mapping

from app.inference.endpoints import ENDPOINTS, Endpoint
from app.responses.endpoint import RESPONSES

BATCH_ENDPOINTS: Mapping[str, Endpoint] = {**ENDPOINTS, RESPONSES.path: RESPONSES}
