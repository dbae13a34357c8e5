"""Lua scripts: the operations on event logs that must be atomic in Redis.

Each running log is in the hash of running logs, where the sweep finds those of dead gateways.
"""

from __future__ import annotations

from collections.abc import Sequence

from inference_worker.protocol import names
from inference_worker.transport.lua_script import LuaScript

ENTRY_BYTES = 64  # overhead of an event in Redis

# KEYS: meta, index, running logs.
# ARGV: id, tenant, gateway, kind, expiry in ms, maximum number of logs, key prefix.
# Returns 1, or 0 if all of the tenant's logs are still being written.
CREATE = LuaScript("""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
local excess = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[6]) + 1
if excess > 0 then
  for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    local key = ARGV[7] .. id
    if redis.call('HGET', key .. ':meta', 'state') ~= 'running' then
      redis.call('DEL', key, key .. ':meta')
      redis.call('ZREM', KEYS[2], id)
      excess = excess - 1
      if excess == 0 then break end
    end
  end
  if excess > 0 then return 0 end
end
redis.call('HSET', KEYS[1], 'tenant', ARGV[2], 'gateway', ARGV[3], 'kind', ARGV[4],
           'state', 'running', 'bytes', 0, 'next', 0)
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('ZADD', KEYS[2], now + ARGV[5], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[3])
return 1
""")

# KEYS: log, meta, index, running logs.
# ARGV: id, channel, number of the first event, maximum bytes, expiry in ms after the end,
# final state or '', overhead of an entry in bytes, events.
# Returns whether the log is cancelled; -1 if it has ended or was deleted, -2 for a wrong number.
APPEND = LuaScript("""
if redis.call('HGET', KEYS[2], 'state') ~= 'running' then return -1 end
local number = tonumber(ARGV[3])
if redis.call('HGET', KEYS[2], 'next') ~= ARGV[3] then return -2 end
local added = 0
for i = 8, #ARGV do
  local fields = {'event', ARGV[i]}
  if i == #ARGV and ARGV[6] ~= '' then fields = {'event', ARGV[i], 'last', '1'} end
  number = number + 1
  redis.call('XADD', KEYS[1], string.format('%d-0', number), unpack(fields))
  added = added + #ARGV[i] + tonumber(ARGV[7])
end
redis.call('HSET', KEYS[2], 'next', string.format('%d', number))
local bytes = redis.call('HINCRBY', KEYS[2], 'bytes', added)
while bytes > tonumber(ARGV[4]) and redis.call('XLEN', KEYS[1]) > 1 do
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)[1]
  redis.call('XDEL', KEYS[1], oldest[1])
  bytes = redis.call('HINCRBY', KEYS[2], 'bytes', -(#oldest[2][2] + tonumber(ARGV[7])))
end
local left = redis.call('PTTL', KEYS[2])
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[2], 'state', ARGV[6])
  redis.call('HDEL', KEYS[4], ARGV[1])
  left = tonumber(ARGV[5])
  local time = redis.call('TIME')
  redis.call('PEXPIRE', KEYS[2], left)
  redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000) + left, ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], left)
redis.call('PUBLISH', ARGV[2], ARGV[3])
return redis.call('HEXISTS', KEYS[2], 'cancel')
""")

# KEYS: meta. ARGV: channel of changes, message. Returns the state, nil for a deleted log.
CANCEL = LuaScript("""
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'running' then
  redis.call('HSET', KEYS[1], 'cancel', '1')
  redis.call('PUBLISH', ARGV[1], ARGV[2])
end
return state
""")

# KEYS: log, meta, index, running logs. ARGV: id, channel, channel of changes, message.
# Returns whether the log existed.
DELETE = LuaScript("""
local existed = redis.call('DEL', KEYS[2])
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[4], ARGV[1])
redis.call('PUBLISH', ARGV[2], '')
redis.call('PUBLISH', ARGV[3], ARGV[4])
return existed
""")


def log_keys(log_id: str, tenant_id: str) -> tuple[str, ...]:
    """Return the keys of APPEND and DELETE."""
    return (
        names.stream_key(log_id),
        names.stream_meta_key(log_id),
        names.stream_index_key(tenant_id),
        names.RUNNING_STREAMS,
    )


def append_arguments(
    log_id: str, number: int, events: Sequence[bytes], *, max_bytes: int, keep_ms: int, final_state: str = ""
) -> tuple[str | bytes | int, ...]:
    """Return the arguments of APPEND; ``number`` is that of the first event."""
    channel = names.stream_channel(log_id)
    return log_id, channel, number, max_bytes, keep_ms, final_state, ENTRY_BYTES, *events
