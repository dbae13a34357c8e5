"""The incarnation of Redis's data: it changes when the server restarts and when its data are deleted.

A restarted server may have lost its last second of writes, a replica that takes over may lag behind, and
FLUSHALL breaks no connection. Processes that hold more than Redis does compare incarnations to notice.
"""

from __future__ import annotations

from typing import Any

import redis

INCARNATION_KEY = "cyllm:incarnation"

# KEYS: the incarnation's key. Returns the incarnation and its age in ms.
INCARNATION_SCRIPT = """
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local incarnation = redis.call('GET', KEYS[1])
if not incarnation or string.sub(incarnation, 1, #run_id + 1) ~= run_id .. ':' then
  incarnation = run_id .. ':' .. string.format('%.0f', now_ms) .. ':' .. time[2]
  redis.call('SET', KEYS[1], incarnation)
end
return {incarnation, now_ms - tonumber(string.match(incarnation, ':(%d+):'))}
"""


def incarnation_read(client: redis.Redis) -> tuple[bytes, float]:
    """Return the incarnation of Redis's data, and its age in seconds. Raises RedisError."""
    reply: Any = client.eval(INCARNATION_SCRIPT, 1, INCARNATION_KEY)
    return bytes(reply[0]), int(reply[1]) / 1000
