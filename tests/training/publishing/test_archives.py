"""Archives in the storage: stored once, registered by command, and swept when no adapter has them."""

from __future__ import annotations

import io
import json
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from inference_worker.protocol.adapter_archive import folder_digest, storage_name
from inference_worker.registry.adapter_services import NewAdapter, adapter_delete, adapter_register
from inference_worker.registry.archives import archive_digests, archive_exists, archive_url
from inference_worker.registry.selectors import catalogue
from inference_worker.registry.services import model_register
from tests.training.queue.harness.disk import MOST_BYTES, full_disk
from tests.tuned import save_adapter
from training.publishing.archives import UNUSED_AFTER, StoredArchive, archive_store, archives_sweep
from training.publishing.errors import PublishingError
from training.publishing.model_names import model_names

if TYPE_CHECKING:
    from tests.people import Cast

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_url")]


@pytest.fixture(scope="module")
def adapter(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter(tiny_model, tmp_path_factory.mktemp("adapters") / "right", seed=1)


def age(sha256: str) -> None:
    """Make an archive older than the sweep spares."""
    old_s = UNUSED_AFTER.total_seconds() + 60
    path = Path(default_storage.path(storage_name(sha256)))
    os.utime(path, (path.stat().st_mtime - old_s,) * 2)


def new_adapter(cast: Cast, archive: StoredArchive, name: str = "ft:tiny:acme::1") -> NewAdapter:
    return NewAdapter(
        name=name,
        base="tiny",
        sha256=archive.sha256,
        rank=8,
        size_bytes=archive.size_bytes,
        tenant_id=cast.acme.id,
        owned_by="acme",
    )


def test_an_adapter_is_stored_once_under_its_digest(adapter: Path) -> None:
    archive = archive_store(adapter)
    assert archive.sha256 == folder_digest(adapter)
    assert default_storage.size(storage_name(archive.sha256)) == archive.size_bytes
    assert archive_store(adapter) == archive
    assert list(archive_digests()).count(archive.sha256) == 1
    assert archive_url(archive.sha256) == "", "workers read the folder, or ask the gateway"


@pytest.mark.criterion("2.3")
def test_an_archive_for_which_the_worker_has_no_space_names_the_full_disk(tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"x" * 2 * MOST_BYTES)
    with full_disk(), pytest.raises(PublishingError) as excinfo:
        archive_store(tmp_path / "adapter")
    assert (excinfo.value.failure.code, excinfo.value.failure.is_transient) == ("disk_full", True)


def test_the_sweep_deletes_old_archives_of_no_adapter_only(
    cast: Cast, adapter: Path, tiny_model: Path
) -> None:
    model_register(name="tiny", actor="tests")
    archive = archive_store(adapter)
    adapter_register(new_adapter(cast, archive), actor="tests")
    age(archive.sha256)
    unused_archive = archive_store(save_adapter(tiny_model, adapter.parent / "unused", seed=5))
    assert archives_sweep() == 0, "one has an adapter, the other is new"
    age(unused_archive.sha256)
    assert archives_sweep() == 1
    assert (archive_exists(archive.sha256), archive_exists(unused_archive.sha256)) == (True, False)
    adapter_delete(name="ft:tiny:acme::1", actor="tests")
    assert not archive_exists(archive.sha256)


def test_an_archive_of_an_earlier_attempt_is_stored_anew_before_its_adapter_is_verified(
    tiny_model: Path, tmp_path: Path
) -> None:
    folder = save_adapter(tiny_model, tmp_path / "retried", seed=6)
    archive = archive_store(folder)
    age(archive.sha256)
    assert archive_store(folder) == archive
    assert archives_sweep() == 0
    assert archive_exists(archive.sha256)


def test_an_archive_that_two_adapters_have_stays_until_the_second_is_deleted(
    cast: Cast, adapter: Path
) -> None:
    model_register(name="tiny", actor="tests")
    archive = archive_store(adapter)
    for name in ("ft:tiny:acme::1", "ft:tiny:acme::2"):
        adapter_register(new_adapter(cast, archive, name), actor="tests")
    adapter_delete(name="ft:tiny:acme::1", actor="tests")
    assert archive_exists(archive.sha256)
    adapter_delete(name="ft:tiny:acme::2", actor="tests")
    assert not archive_exists(archive.sha256)


def test_an_adapter_is_registered_listed_and_deleted_by_command(
    cast: Cast, adapter: Path, tiny_model: Path
) -> None:
    def run(*arguments: Any) -> Any:
        output = io.StringIO()
        call_command("adapters", *map(str, arguments), "--json", stdout=output)
        return json.loads(output.getvalue())

    model_register(name="tiny", actor="tests")
    add = ("add", "ft:tiny:acme:own:1", adapter, "--base", "tiny", "--tenant", "acme")
    with pytest.raises(CommandError, match="--base-folder"):
        run(*add)
    row = run(*add, "--base-folder", tiny_model)
    assert (row["base"], row["tenant"], row["rank"]) == ("tiny", "acme", 8)
    assert run("list") == [row]
    (entry,) = (entry for entry in catalogue() if entry.adapter)
    assert not entry.public
    assert entry.tenant_ids == {str(cast.acme.id)}
    with pytest.raises(CommandError, match="taken"):
        run("add", "tiny", *add[2:], "--base-folder", tiny_model)
    with pytest.raises(CommandError, match="No such tenant"):
        run(*add[:-1], "acm", "--base-folder", tiny_model)
    assert run("delete", "ft:tiny:acme:own:1")["deleted"]
    assert run("list") == []
    with pytest.raises(CommandError, match="No such adapter"):
        run("delete", "ft:tiny:acme:own:1")


def test_a_wrong_adapter_is_not_registered(cast: Cast, tiny_model: Path, tmp_path: Path) -> None:
    model_register(name="tiny", actor="tests")
    folder = save_adapter(tiny_model, tmp_path / "a", seed=1, use_dora=True)
    with pytest.raises(CommandError, match="can't be served: engines don't support use_dora"):
        call_command(
            *("adapters", "add", "ft:x", str(folder), "--base", "tiny", "--tenant", "acme"),
            *("--base-folder", str(tiny_model)),
        )
    assert [entry.name for entry in catalogue()] == ["tiny"]


@pytest.mark.parametrize("suffix", ["", "support", "x" * 64])
@pytest.mark.parametrize("base", ["tiny", "org/" + "m" * 196])
def test_names_of_fine_tuned_models_fit_the_registry(cast: Cast, base: str, suffix: str) -> None:
    from inference_worker.registry.models import validate_model_name
    from training.models import FineTuningJob

    job = FineTuningJob(id=f"ftjob-{uuid.uuid4().hex[:24]}", tenant=cast.acme, base_model=base, suffix=suffix)
    short, long = model_names(job)
    for name in (short, long):
        validate_model_name(name)
        assert name.startswith(f"ft:{base[:20]}")
        assert f":acme:{suffix}:" in name
    assert long.endswith(job.id.removeprefix("ftjob-"))
    assert short.endswith(job.id[6:14])
