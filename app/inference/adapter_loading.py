"""Loading of adapters at the replica that is to answer, and unloading of deleted models.

Our own engine fetches adapters from storage itself. Others read them from a folder, which is filled
here: see adapter_folder.py.
"""

import asyncio
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from app import logs
from app.catalog import CatalogModel
from app.engine_options import EngineKind
from app.errors import ModelDamaged, ServiceUnavailable
from app.http.fair_limiter import FairLimiter
from app.inference.adapter_checks import AdapterFacts, check_adapter
from app.inference.adapter_folder import (
    AdapterFolder,
    AdapterLease,
    DamagedAdapter,
    NoRoom,
    adapter_name,
    check_copy,
)
from app.inference.dialects import DIALECTS, read_reason
from app.inference.engine_connection import EngineConnection
from app.inference.engine_errors import EngineUnavailable, NotSupportedByEngine
from app.inference.engine_http import read_body, read_error
from app.inference.replicas import Replica
from app.models.registry import ResolvedModel
from app.settings import Settings
from app.storage import ObjectStore, StorageUnavailable, UnsafeKey

log = logs.get_logger(__name__)

UNLOAD_TIMEOUT_SECONDS = 5
MAX_CONCURRENT_DISK_READS = 16
# Of the threads that others leave free, for the adapters of one project.
MAX_SHARE = 0.5
MAX_REMEMBERED_FACTS = 10_000
# Words of an engine's reason that no retry changes.
LASTING_REASONS = ("max_lora_rank", "support", "not enabled", "target modules", "invalid lora")


@dataclass(frozen=True, slots=True)
class AdapterAtEngine:
    """An adapter's name and place for one kind of engine; `facts` are those of its files.

    `copy` is its folder here, if the engine reads it from there, and `is_checked` whether all of it
    has been read for this request.
    """

    name: str
    path: str
    facts: AdapterFacts | None = None
    copy: Path | None = None
    is_checked: bool = False


class AdapterLoader:
    """Loads adapters into engines. One per process."""

    def __init__(
        self,
        settings: Settings,
        store: ObjectStore | None,
        connection: EngineConnection,
        catalog: Iterable[CatalogModel] = (),
    ) -> None:
        self._home = settings.home
        self._catalog = catalog
        self._store = store
        self._connection = connection
        self._folders: dict[Path, AdapterFolder] = {}
        self._facts: dict[str, AdapterFacts] = {}
        self._threads = FairLimiter(MAX_CONCURRENT_DISK_READS, share=MAX_SHARE)

    async def place(
        self, replica: Replica, model: ResolvedModel, stack: AsyncExitStack
    ) -> AdapterAtEngine:
        """Make a fine-tuned model's adapter available to an engine until the stack is closed.

        Raises NotSupportedByEngine, ModelDamaged, ServiceUnavailable or EngineUnavailable.
        """
        assert model.storage_prefix is not None
        assert replica.kind is not None
        if replica.kind == EngineKind.LUTHIER:
            return AdapterAtEngine(model.name, model.storage_prefix)
        dialect = DIALECTS[replica.kind]
        if dialect.load_path is None:
            raise NotSupportedByEngine(
                f"The model `{model.name}` cannot be served: {dialect.name} loads no adapters. "
                "vLLM, SGLang and the built-in engine do.",
                param="model",
            )
        is_checked = model.storage_prefix not in self._facts
        lease, facts = await self._threads.run(self._lease, model, dialect.name)
        stack.callback(lease.release)
        options = model.base.engine_options
        root = Path(options.adapters_at_engine) if options.adapters_at_engine else None
        path = lease.folder if root is None else root / lease.folder.name
        return AdapterAtEngine(
            lease.folder.name, str(path.absolute()), facts, lease.folder, is_checked
        )

    async def load(self, replica: Replica, model: ResolvedModel, adapter: AdapterAtEngine) -> None:
        """Have a replica load an adapter, once for all that wait for it.

        Raises NotSupportedByEngine, ModelDamaged or EngineUnavailable.
        """
        task = replica.loading.get(adapter.name)
        if task is None:
            task = asyncio.create_task(self._load(replica, model, adapter))
            replica.loading[adapter.name] = task
            task.add_done_callback(lambda done: _forget(replica, adapter.name, done))
        # Shielded: a client that disconnects must not cancel the load for the others.
        await asyncio.shield(task)

    async def unload(self, replicas: Iterable[Replica], model: ResolvedModel) -> None:
        """Unload a deleted model everywhere, and remove its files. Never raises."""
        if model.storage_prefix is None:
            return
        await asyncio.gather(*(self._unload(replica, model) for replica in replicas))
        if model.base.engine is None:
            return
        await self._threads.run(self._discard, model)

    def _lease(self, model: ResolvedModel, engine: str) -> tuple[AdapterLease, AdapterFacts]:
        """Fetch an adapter if necessary, and check it; one that is damaged here, once more."""
        assert model.storage_prefix is not None
        folder = self._folder(model.base)
        for _ in range(2):
            lease = self._fetch(model)
            try:
                return lease, self._check(lease, model, engine)
            except DamagedAdapter as error:
                lease.release()
                log.error("adapter.damaged", model=model.name, reason=str(error))
                if not self._discard(model):
                    raise _could_not_load(model) from error
                damage = error
            except OSError as error:
                # Such as too many open files: it says nothing about the adapter.
                lease.release()
                log.error("adapter.not_read", model=model.name, reason=repr(error))
                raise _could_not_load(model) from error
            except BaseException:
                lease.release()
                raise
        folder.remember_damage(model.storage_prefix)
        raise ModelDamaged from damage

    def _discard(self, model: ResolvedModel) -> bool:
        """Remove a model's files, now or when the last request ends; True if they are gone."""
        assert model.storage_prefix is not None
        self._facts.pop(model.storage_prefix, None)
        try:
            return self._folder(model.base).discard(model.storage_prefix)
        except OSError as error:
            log.warning("adapter.not_removed", model=model.name, reason=repr(error))
            return False

    def _fetch(self, model: ResolvedModel) -> AdapterLease:
        assert model.storage_prefix is not None
        try:
            return self._folder(model.base).lease(model.storage_prefix)
        except StorageUnavailable as error:
            log.error("storage.unavailable", reason=str(error))
            raise ServiceUnavailable("The adapter storage is temporarily unavailable.") from error
        except DamagedAdapter as error:
            raise ModelDamaged from error
        except (OSError, NoRoom, UnsafeKey) as error:
            log.error("adapter.not_fetched", model=model.name, reason=repr(error))
            raise _could_not_load(model) from error

    def _check(self, lease: AdapterLease, model: ResolvedModel, engine: str) -> AdapterFacts:
        assert model.storage_prefix is not None
        facts = self._facts.get(model.storage_prefix)
        if facts is None:
            check_copy(lease.folder)
            facts = check_adapter(
                lease.folder,
                model.base,
                name=model.name,
                engine=engine,
                max_rank=model.base.max_lora_rank,
            )
        while len(self._facts) >= MAX_REMEMBERED_FACTS:
            self._facts.pop(next(iter(self._facts)))
        self._facts[model.storage_prefix] = facts
        return facts

    def _check_again(self, model: ResolvedModel, copy: Path) -> None:
        """Have a copy that an engine is to read again removed if it has been damaged since."""
        try:
            check_copy(copy)
        except (DamagedAdapter, OSError) as error:
            log.error("adapter.damaged", model=model.name, reason=str(error))
            # When this request ends; the next one fetches it.
            self._discard(model)
            raise _could_not_load(model) from error

    def _folder(self, base: CatalogModel) -> AdapterFolder:
        path = self._folder_path(base)
        if path not in self._folders:
            assert self._store is not None, "other engines' adapters come from storage"
            shared = [base, *(m for m in self._catalog if self._folder_path(m) == path)]
            # The lowest limit of the entries that share it: each may have been set for a reason.
            max_bytes = min(model.engine_options.adapters_max_bytes for model in shared)
            self._folders[path] = AdapterFolder(self._store, path, max_bytes=max_bytes)
        return self._folders[path]

    def _folder_path(self, base: CatalogModel) -> Path:
        adapters = base.engine_options.adapters
        return Path(adapters or self._home / "cache" / "engine-adapters").resolve()

    async def _load(self, replica: Replica, model: ResolvedModel, adapter: AdapterAtEngine) -> None:
        assert replica.kind is not None
        dialect = DIALECTS[replica.kind]
        assert dialect.load_path is not None
        if adapter.copy is not None and not adapter.is_checked:
            await self._threads.run(self._check_again, model, adapter.copy)
        body = {"lora_name": adapter.name, "lora_path": adapter.path}
        if replica.kind == EngineKind.LUTHIER:
            body["base_model_name"] = model.base.id
        response = await self._connection.post(replica, dialect.load_path, body)
        try:
            text = await read_body(response)
        finally:
            await response.aclose()
        # vLLM and SGLang answer an error if the adapter is loaded already, which is fine too.
        if response.is_error and b"already" not in text:
            raise _explain_refusal(replica.kind, model, response.status_code, text)
        log.info("engine.adapter_loaded", model=model.name, engine=replica.url)

    async def _unload(self, replica: Replica, model: ResolvedModel) -> None:
        """An engine that cannot be reached gets no more requests for the model, and evicts it when
        it needs the memory."""
        assert model.storage_prefix is not None
        try:
            kind = await self._connection.identify(replica, model.base)
            path = DIALECTS[kind].unload_path
            if path is None:
                return
            is_own = kind == EngineKind.LUTHIER
            body = {"lora_name": model.name if is_own else adapter_name(model.storage_prefix)}
            if is_own and replica.is_trusted:
                body["lora_path"] = model.storage_prefix
            response = await self._connection.post_briefly(
                replica, path, body, timeout_seconds=UNLOAD_TIMEOUT_SECONDS
            )
        except (EngineUnavailable, NotSupportedByEngine, httpx.HTTPError) as error:
            log.warning("engine.not_unloaded", model=model.name, reason=repr(error))
            return
        # 404, and vLLM's 400, mean that it has never served the model.
        if response.is_server_error:
            log.warning("engine.not_unloaded", model=model.name, status=response.status_code)


def _could_not_load(model: ResolvedModel) -> EngineUnavailable:
    return EngineUnavailable(
        f"The engine could not load the model `{model.name}`. Please retry in a moment."
    )


def _explain_refusal(kind: EngineKind, model: ResolvedModel, status: int, text: bytes) -> Exception:
    """The error of an engine that did not load an adapter."""
    reason = read_reason(text)
    log.error("engine.adapter_refused", model=model.name, status=status, reason=reason[:500])
    if kind == EngineKind.LUTHIER:
        if (read_error(text) or {}).get("code") == ModelDamaged.code:
            return ModelDamaged()
        is_away = status == httpx.codes.SERVICE_UNAVAILABLE and reason
        return EngineUnavailable(reason) if is_away else _could_not_load(model)
    dialect = DIALECTS[kind]
    has_no_route = status == httpx.codes.NOT_FOUND and reason == "Not Found"
    if has_no_route or "lora is not enabled" in reason.lower():
        return NotSupportedByEngine(
            f"The model `{model.name}` cannot be served: {dialect.name} was started without "
            f"{dialect.adapter_switch}.",
            param="model",
        )
    if any(word in reason.lower() for word in LASTING_REASONS):
        return NotSupportedByEngine(
            f"The model `{model.name}` cannot be served by {dialect.name}: {reason}", param="model"
        )
    return _could_not_load(model)


def _forget(replica: Replica, name: str, task: asyncio.Task[None]) -> None:
    replica.loading.pop(name, None)
    # All that waited may have gone: the exception is not lost, since each logs its own.
    if not task.cancelled():
        task.exception()
