"""The sandbox of training: a hostile process reads no secret and reaches no other process."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import LlamaForCausalLM

from app.catalog import CatalogModel, ModelKind
from app.process_hardening import PR_SET_DUMPABLE
from tests.faults.scenario import training_file
from tests.worker.conftest import tiny_config, tiny_tokenizer
from tests.worker.supervisor.fake_trainer import NUM_EXAMPLES, TrainerFixture
from worker.model_cache import READY_FILE, get_cache_folder
from worker.run_folder import RunFolder, RunSpec
from worker.supervisor import sandbox as sandboxes
from worker.supervisor.attempt import TrainerContext
from worker.supervisor.job_runner import JobRunner
from worker.supervisor.sandbox import FIRST_UID, Sandbox, list_needed_paths, open_sandbox
from worker.supervisor.training_process import INHERITED_ENVIRONMENT, TrainingProcess

HOSTILE = str(Path(__file__).with_name("hostile_training_process.py"))
CANARY = "canary-5e0b"
SLEEP = "import time; print('ready', flush=True); time.sleep(300)"
NO_CAPABILITIES = "0000000000000000"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")


@pytest.fixture
def secrets(context: TrainerContext, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put canaries where secrets are: variables, files of LUTHIER_HOME, another process."""
    home = context.settings.home
    for name in ("api_key", "storage/file", "postgres/base", "runs/other/train.jsonl", "logs/log"):
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(CANARY)
    home.chmod(0o700)
    (home / "runs" / "other").chmod(0o750)
    for name in ("DATABASE_URL", "S3_SECRET_ACCESS_KEY", "WANDB_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, CANARY)
    command = [sys.executable, "-c", SLEEP]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        process.kill()


def find_interpreter() -> str:
    """An interpreter that every user can run: this one may be in root's home."""
    needed = [Path(sys.executable), Path(os.__file__)]
    if sandboxes._is_reachable_by(FIRST_UID, needed):
        return sys.executable
    interpreter = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if interpreter is None:
        pytest.skip("no interpreter that every user can run")
    return interpreter


def run_hostile_job(context: TrainerContext) -> dict[str, Any]:
    hostile = dataclasses.replace(context, command=(find_interpreter(), HOSTILE))
    trainer = TrainerFixture(
        sessions=context.sessions, store=context.store, context=hostile, runner=JobRunner(hostile)
    )
    job_id = trainer.create_job()
    assert trainer.runner.run_next()
    message = trainer.get_job(job_id).error_message
    assert message is not None
    findings: dict[str, Any] = json.loads(message)
    return findings


@needs_root
def test_a68_hostile_training_finds_no_secret_and_reaches_no_process(
    context: TrainerContext, secrets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(sandboxes.ROOT))
    findings = run_hostile_job(context)
    assert findings["uid"] >= FIRST_UID
    assert findings["own data"] == NUM_EXAMPLES
    assert findings["status"] == {
        "CapEff": NO_CAPABILITIES,
        "CapBnd": NO_CAPABILITIES,
        "NoNewPrivs": "1",
    }
    for kind in ("own environment", "environments", "memory", "ptrace", "signal", "secrets"):
        assert not findings[kind], (kind, findings)
    # A link in the run folder could make the supervisor write elsewhere.
    assert not findings["plant"]


@needs_root
def test_a68_without_its_own_user_training_has_no_capabilities(
    context: TrainerContext, secrets: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandboxes, "_has_capabilities", lambda _: False)
    monkeypatch.setenv("PYTHONPATH", str(sandboxes.ROOT))
    findings = run_hostile_job(context)
    assert findings["uid"] == 0
    assert findings["status"]["CapEff"] == NO_CAPABILITIES
    assert findings["own environment"] == []


def test_a68_the_environment_has_no_secrets(tmp_path: Path, secrets: None) -> None:
    folder = RunFolder(tmp_path)
    command = (sys.executable, "-c", "import os; print(sorted(os.environ.values()))")
    with TrainingProcess(folder, command) as process:
        while process.poll() is None:
            pass
    assert folder.log.read_text().startswith("[")
    assert CANARY not in folder.log.read_text()
    assert not {"HF_TOKEN", "WANDB_API_KEY", "DATABASE_URL"} & INHERITED_ENVIRONMENT


@pytest.mark.parametrize("is_protected", [True, False])
def test_a68_a_process_with_secrets_forbids_its_inspection(is_protected: bool) -> None:
    """Both processes have the same user, as in an installation without root."""
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": FIRST_UID - 1, "group": FIRST_UID - 1, "extra_groups": []}
    protect = "from app.process_hardening import forbid_inspection; forbid_inspection(); "
    program = (protect if is_protected else "") + SLEEP
    command = [sys.executable, "-c", program]
    victim = subprocess.Popen(
        command, env={"PATH": os.environ["PATH"], "SECRET": CANARY}, stdout=subprocess.PIPE, **user
    )
    with victim:
        assert victim.stdout is not None
        victim.stdout.readline()
        program = f"print(open('/proc/{victim.pid}/environ').read())"
        attacker = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=False, **user
        )
        victim.kill()
    assert (CANARY.encode() in attacker.stdout) is not is_protected
    assert PR_SET_DUMPABLE == 4


@needs_root
class TestChoice:
    def test_two_attempts_have_two_users(self, tmp_path: Path) -> None:
        with open_sandbox(tmp_path, []) as first, open_sandbox(tmp_path, []) as second:
            assert first.uid != second.uid
            assert first.uid is not None

    def test_a_private_interpreter_keeps_the_user(self, tmp_path: Path) -> None:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        with open_sandbox(tmp_path / "models", [private]) as sandbox:
            assert (sandbox.uid, sandbox.drops_capabilities) == (None, True)
        # Nothing was opened for others: neither the folder nor those above it.
        assert private.stat().st_mode & 0o077 == 0

    def test_files_of_another_user_keep_roots_capabilities(self, tmp_path: Path) -> None:
        private = tmp_path / "private"
        private.mkdir(mode=0o700)
        os.chown(private, FIRST_UID - 1, FIRST_UID - 1)
        with open_sandbox(tmp_path / "models", [private]) as sandbox:
            assert (sandbox.uid, sandbox.drops_capabilities) == (None, False)

    def test_processes_of_the_user_end_with_the_sandbox(self, tmp_path: Path) -> None:
        with open_sandbox(tmp_path, []) as sandbox:
            assert sandbox.uid is not None
            left = subprocess.Popen(
                [sys.executable, "-c", SLEEP], user=sandbox.uid, start_new_session=True
            )
        assert left.wait() == -9


def test_without_root_there_is_one_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with open_sandbox(tmp_path, []) as sandbox:
        assert sandbox == Sandbox()
        assert sandbox.options == ["--unprivileged"]


@needs_root
@pytest.mark.attack
def test_a68_the_real_training_process_works_as_a_user_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a base model of the cache, in folders that its user cannot traverse."""
    interpreter = find_interpreter()
    packages = sysconfig.get_paths()["purelib"]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shown = subprocess.run([interpreter, "-V"], capture_output=True, text=True, check=True).stdout
    if not shown.startswith(f"Python {version}."):
        pytest.skip("no interpreter of this version that every user can run")
    monkeypatch.setenv("PYTHONPATH", f"{sandboxes.ROOT}:{packages}")
    models = tmp_path / "cache" / "models"
    model = CatalogModel(
        id="tiny",
        source=f"hf:none/none@{40 * '0'}",
        kind=ModelKind.CAUSAL,
        methods=("supervised",),
        context_length=512,
    )
    cached = get_cache_folder(model, models)
    LlamaForCausalLM(tiny_config()).save_pretrained(cached)
    tiny_tokenizer().save_pretrained(cached)
    (cached / READY_FILE).write_text(model.source)
    folder = RunFolder(tmp_path / "runs" / "ftjob-tiny-attempt-1")
    folder.checkpoints.mkdir(parents=True)
    folder.train_file.write_bytes(training_file(12, {}))
    command = (interpreter, "-m", "worker.training")
    tmp_path.chmod(0o700)
    with open_sandbox(models, list_needed_paths(command, model.source)) as sandbox:
        assert sandbox.uid is not None
        spec = RunSpec(
            job_id="ftjob-tiny",
            attempt=1,
            model=model.to_json(),
            model_cache=sandbox.model_cache or "",
            method="supervised",
            hyperparameters={"n_epochs": 1, "batch_size": 4},
            seed=7,
            base_model="tiny",
            threads=1,
        )
        folder.write_spec(spec)
        sandbox.hand_over(folder)
        with TrainingProcess(folder, command, sandbox) as process:
            while (code := process.poll()) is None:
                time.sleep(0.1)
    assert code == 0, folder.log.read_text()
    assert folder.list_checkpoint_steps() == [3]
