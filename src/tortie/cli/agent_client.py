"""Asks the agent over its unix socket: HTTP with JSON, nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tortie.errors import TortieError, UsageError

# Above every time limit that the agent itself keeps: the agent knows better what it was waiting for.
MARGIN_S = 30.0


class AgentError(TortieError):
    """The agent could not do it, or there is no agent."""


class Unreachable(AgentError):
    """Nobody answers on the socket."""


class _Connection(http.client.HTTPConnection):
    """HTTP to a path instead of a host and a port."""

    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("agent", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def get(path: Path, resource: str, timeout_s: float = 10.0) -> Any:
    """The agent's answer to GET; raises AgentError with a sentence for the user."""
    return _request(path, "GET", resource, None, timeout_s)


def post(path: Path, resource: str, body: Mapping[str, Any], timeout_s: float) -> Any:
    """The agent's answer to POST; `timeout_s` is the time that the request gives the agent. Raises as `get`,
    and UsageError when the agent says that the request makes no sense."""
    return _request(path, "POST", resource, body, timeout_s + MARGIN_S)


def _request(path: Path, method: str, resource: str, body: Mapping[str, Any] | None, timeout_s: float) -> Any:
    connection = _Connection(path, timeout_s)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, resource, payload, {"Content-Type": "application/json"} if payload else {})
        response = connection.getresponse()
        status, answer = response.status, response.read()
    except (FileNotFoundError, ConnectionRefusedError):
        raise Unreachable(
            f"no agent answers on {path}: start it with `systemctl start tortie-agent` or `tortie agent`"
        ) from None
    except PermissionError:
        raise Unreachable(f"{path} may not be opened by this user: be root, or in the group tortie") from None
    except TimeoutError:
        raise Unreachable(f"the agent on {path} has not answered for {timeout_s:g} s: its log says more") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"the agent on {path} does not answer: {error or type(error).__name__}") from None
    finally:
        connection.close()
    return _decode(path, status, answer)


def _decode(path: Path, status: int, answer: bytes) -> Any:
    try:
        value = json.loads(answer)
        fault = "" if status < 400 else value["error"]
    except (ValueError, LookupError, TypeError):
        raise AgentError(f"what answers on {path} is not the agent: HTTP {status} without JSON") from None
    if not fault:
        return value
    raise (UsageError if status == 400 else AgentError)(fault)
