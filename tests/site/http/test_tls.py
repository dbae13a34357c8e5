"""TLS for everything outside: the gateway, Redis and Postgres, in a production server."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import psycopg
import pytest
import redis

from api.openai.errors.access import HttpsRequired
from cyllm_site.middleware.https_only import check_https, is_https
from cyllm_site.settings.database import database_settings
from deploy.local.processes.supervisor import Program, Supervisor
from inference_worker.transport.address import Address
from tests.patience import PATIENCE_S
from tests.ports import reserved_port
from tests.site.harness.tls import Certificate, make_certificate, tls_terminator

ROOT = Path(__file__).resolve().parents[3]
SECRET_KEY = "Zk3v-0q8Jx_yT5nW2rB7cL9dF1gH4mP6sA8uE0iO3kQ5wX7zVt9R"

pytestmark = pytest.mark.criterion("6.5")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The certificate of all servers of this module."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate of another name, which nobody trusts."""
    return make_certificate(tmp_path_factory.mktemp("stranger"), "elsewhere.example")


@pytest.fixture(scope="module")
def secure_database_url(postgres_url: str, django_db_setup: None, certificate: Certificate) -> Iterator[str]:
    """The address of the test database behind TLS."""
    from django.db import connection

    parts = urlsplit(postgres_url)
    target = (str(parts.hostname), int(parts.port or 5432))
    with tls_terminator(target, certificate, postgres=True) as port:
        user = f"{parts.username}:{quote(str(parts.password))}"
        name = connection.settings_dict["NAME"]
        yield f"postgresql://{user}@localhost:{port}/{name}?sslmode=verify-full&sslrootcert={certificate.path}"


@pytest.fixture(scope="module")
def secure_redis_url(redis_url: str, certificate: Certificate) -> Iterator[str]:
    """The address of the test Redis behind TLS."""
    parts = urlsplit(redis_url)
    with tls_terminator((str(parts.hostname), int(parts.port or 6379)), certificate) as port:
        credentials = f":{quote(str(parts.password))}@" if parts.password else ""
        yield f"rediss://{credentials}localhost:{port}{parts.path}?ssl_ca_certs={certificate.path}"


def connect(url: str) -> int:
    """Connect with Django's settings for the address and return 1."""
    entry = database_settings(url, 5.0)
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    values = {name: entry[setting] for name, setting in names.items()}
    with psycopg.connect(**values, **entry["OPTIONS"]) as database:
        row = database.execute("select 1").fetchone()
        assert database.info.pgconn.ssl_in_use
        return int(row[0]) if row else 0


def test_the_database_must_prove_its_name(secure_database_url: str, stranger: Certificate) -> None:
    assert connect(secure_database_url) == 1
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        connect(re.sub(r"sslrootcert=.*", f"sslrootcert={stranger.path}", secure_database_url))
    parts = urlsplit(secure_database_url)
    with tls_terminator(("127.0.0.1", int(parts.port or 0)), stranger, postgres=True) as port:
        foreign = secure_database_url.replace(f":{parts.port}/", f":{port}/")
        foreign = re.sub(r"sslrootcert=.*", f"sslrootcert={stranger.path}", foreign)
        with pytest.raises(psycopg.OperationalError, match="does not match host name"):
            connect(foreign)


@pytest.fixture(scope="module")
def production(
    secure_database_url: str, secure_redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """A full production environment, static files included."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "cyllm_site.settings.base",
        "CYLLM_MODE": "production",
        "CYLLM_SECRET_KEY": SECRET_KEY,
        "CYLLM_ALLOWED_HOSTS": "llm.example.org,localhost",
        "CYLLM_STATE_DIR": str(tmp_path_factory.mktemp("state")),
        "CYLLM_DATABASE_URL": secure_database_url,
        "CYLLM_REDIS_URL": secure_redis_url,
    }
    manage(environment, "collectstatic", "--noinput")
    return environment


def manage(environment: dict[str, str], *words: str) -> str:
    """Run a management command and return its output."""
    process = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr + process.stdout
    return process.stdout + process.stderr


def test_the_deployment_check_of_a_production_environment_is_clean(production: dict[str, str]) -> None:
    output = manage(production, "check", "--deploy", "--fail-level", "WARNING")
    assert "no issues" in output


@pytest.mark.case("admin.23")
def test_the_recipe_for_production_passes_the_deployment_check(production: dict[str, str]) -> None:
    text = (ROOT / "docs/operations.md").read_text()
    recipe = text.partition("## First deployment")[2].partition("```sh\n")[2].partition("```")[0]
    exports = dict(re.findall(r"^export (CYLLM_\w+)=['\"]?([^'\"\n]*)", recipe, flags=re.MULTILINE))
    assert {"CYLLM_MODE", "CYLLM_ALLOWED_HOSTS", "CYLLM_DATABASE_URL", "CYLLM_REDIS_URL"} <= set(exports)
    values = {name: value for name, value in exports.items() if "$(" not in value}
    output = manage({**production, **values}, "check", "--deploy", "--fail-level", "WARNING")
    assert "no issues" in output


@pytest.fixture(scope="module")
def https_port(
    test_servers: Supervisor, production: dict[str, str], certificate: Certificate
) -> Iterator[int]:
    """The port of a production gateway that serves TLS itself and reaches its servers over TLS."""
    number = reserved_port()
    files = ["--ssl-certfile", str(certificate.path), "--ssl-keyfile", str(certificate.key_path)]
    argv = [sys.executable, "-m", "cyllm_site.serve", "--port", str(number), *files]
    test_servers.start(Program(name="tls-gateway", argv=argv, env=production, cwd=ROOT))

    def is_alive() -> bool:
        try:
            with https(certificate, number) as client:
                return bool(client.get("/health/live").status_code == 200)
        except httpx.TransportError:
            return False

    test_servers.wait_until("tls-gateway", is_alive, timeout_s=PATIENCE_S)
    yield number
    test_servers.stop("tls-gateway")


def https(certificate: Certificate, port: int) -> httpx.Client:
    """Return a client that trusts the certificate."""
    context = ssl.create_default_context(cafile=str(certificate.path))
    return httpx.Client(base_url=f"https://localhost:{port}", verify=context, timeout=PATIENCE_S)


@pytest.mark.django_db(transaction=True)
def test_the_gateway_serves_the_api_and_pages_over_tls(
    https_port: int, certificate: Certificate, live_key: str
) -> None:
    with https(certificate, https_port) as client:
        models = client.get("/v1/models", headers={"authorization": f"Bearer {live_key}"})
        assert (models.status_code, models.json()["object"]) == (200, "list")
        assert models.headers["strict-transport-security"].startswith("max-age=31536000")
        parts = client.get("/health/ready").json()["components"]
        assert [parts[name]["status"] for name in ("database", "redis")] == ["up", "up"], parts
        page = client.get("/admin/login/")
        assert page.status_code == 200
        assert page.headers["strict-transport-security"].startswith("max-age=31536000")
        cookie = page.headers["set-cookie"]
        assert "Secure" in cookie
        assert "SameSite" in cookie


def test_plain_http_does_not_reach_the_tls_port(https_port: int) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://localhost:{https_port}/health/live", timeout=5)


def test_an_unknown_certificate_is_refused(https_port: int, stranger: Certificate) -> None:
    with (
        https(stranger, https_port) as client,
        pytest.raises(httpx.ConnectError, match="certificate verify failed"),
    ):
        client.get("/health/live")


def test_redis_must_prove_its_name(secure_redis_url: str, stranger: Certificate) -> None:
    with contextlib.closing(redis.Redis.from_url(secure_redis_url)) as client:
        assert client.ping()
    address = Address.from_url(re.sub(r"ssl_ca_certs=.*", f"ssl_ca_certs={stranger.path}", secure_redis_url))
    assert address.tls is not None
    with (
        socket.create_connection((address.host, address.port)) as plain,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        address.tls.wrap_socket(plain, server_hostname=address.host)


@pytest.fixture(scope="module")
def plain_port(test_servers: Supervisor, production: dict[str, str]) -> Iterator[int]:
    """The port of a production gateway without TLS."""
    number = reserved_port()
    argv = [sys.executable, "-m", "cyllm_site.serve", "--port", str(number)]
    test_servers.start(Program(name="plain-gateway", argv=argv, env=production, cwd=ROOT))

    def is_alive() -> bool:
        try:
            return httpx.get(f"http://localhost:{number}/health/live", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    test_servers.wait_until("plain-gateway", is_alive, timeout_s=PATIENCE_S)
    yield number
    test_servers.stop("plain-gateway")


def test_production_refuses_the_api_and_redirects_pages_over_plain_http(plain_port: int) -> None:
    base = f"http://localhost:{plain_port}"
    for path in ("/v1/models", "/openai/models", "/api/admin/v1/tenants"):
        answer = httpx.get(base + path, headers={"x-forwarded-proto": "https"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "https_required")
    page = httpx.get(f"{base}/admin/login/")
    assert (page.status_code, page.headers["location"]) == (
        301,
        f"https://localhost:{plain_port}/admin/login/",
    )


@pytest.mark.parametrize(
    ("scheme", "headers", "proxies", "expected"),
    [
        ("https", [], 0, True),
        ("http", [], 0, False),
        ("http", [(b"x-forwarded-proto", b"https")], 0, False),
        ("http", [(b"x-forwarded-proto", b"https")], 1, True),
        ("http", [(b"x-forwarded-proto", b"HTTPS, http")], 1, True),
        ("http", [(b"x-forwarded-proto", b"http")], 1, False),
        ("http", [], 1, False),
    ],
)
def test_only_a_trusted_proxy_declares_a_connection_encrypted(
    scheme: str, headers: list[tuple[bytes, bytes]], proxies: int, expected: bool
) -> None:
    scope = {"scheme": scheme, "headers": headers, "path": "/v1/models"}
    assert is_https(scope, proxies) is expected
    if not expected:
        with pytest.raises(HttpsRequired):
            check_https(scope, proxies)
        check_https({**scope, "path": "/health/live"}, proxies)
