"""The Lua scripts of the quota counters. Each is one atomic call; times are those of the Redis server.

Rates are counted in a sliding window of buckets of one second (a sliding log with its entries grouped by
second): a bucket counts until all of it is older than a minute, so no minute ever holds more than the limit,
and what it counted is free again 60 to 61 s later. The totals of a window are kept beside its buckets;
every call drops the expired ones, so a call reads few buckets however busy the tenant is.

Spend is a counter per day and month in UTC, of settled costs plus open reservations.

A counters hash has the fields ``oldest`` and ``newest`` (seconds of the first and last bucket), ``requests``
and ``tokens`` (totals of the window), ``r<second>`` and ``t<second>`` (buckets), ``d<yyyymmdd>`` and
``m<yyyymm>`` (micro-dollars) and ``day`` (the latest day). The tenant's also has ``incarnation``:
that of Redis's data when they were rebuilt, with a question mark if they were not: a tenant without limits
needs no rebuild, and its counters contain only what it has used since. ``reserved_day`` is the day on which
the reservations of training count, if there are any: on a later one, the counters are rebuilt.
A reservation is ``second|day|requests|tokens|cost|key id``.
"""

from __future__ import annotations

from inference_worker.transport.lua_script import LuaScript

_SHARED = """
local WINDOW_S, KEEP_S = 60, 40 * 86400
local KEPT_DAYS, KEPT_MONTHS = 40, 12
local TENANT, KEY, RESERVATIONS, LEASES, KEY_LEASES = unpack(KEYS)

local function int(number) return string.format('%.0f', number) end

local time = redis.call('TIME')
local now_s = tonumber(time[1])
local now_ms = now_s * 1000 + math.floor(time[2] / 1000)

local function bucket_names(first, last)
  local fields = {}
  for second = first, last do
    fields[#fields + 1] = 'r' .. second
    fields[#fields + 1] = 't' .. second
  end
  return fields
end

-- Moves buckets of the future to this second: the clock has been set back. They are free a window later.
local function move_future(counters)
  local requests, tokens, names = 0, 0, {}
  local values = redis.call('HGETALL', counters.key)
  for i = 1, #values, 2 do
    local kind, second = string.match(values[i], '^([rt])(%d+)$')
    if second and tonumber(second) > now_s then
      if kind == 'r' then requests = requests + values[i + 1] else tokens = tokens + values[i + 1] end
      names[#names + 1] = values[i]
    end
  end
  for _, name in ipairs(names) do redis.call('HDEL', counters.key, name) end
  redis.call('HINCRBY', counters.key, 'r' .. now_s, int(requests))
  redis.call('HINCRBY', counters.key, 't' .. now_s, int(tokens))
  counters.oldest, counters.newest = math.min(counters.oldest, now_s), now_s
  redis.call('HSET', counters.key, 'oldest', counters.oldest, 'newest', counters.newest)
end

-- Reads counters and drops the expired buckets.
local function load(key, day)
  local month = string.sub(day, 1, 6)
  local values = redis.call('HMGET', key, 'oldest', 'newest', 'requests', 'tokens', 'd' .. day, 'm' .. month,
    'day')
  local counters = {
    key = key, oldest = tonumber(values[1]), newest = tonumber(values[2]),
    requests = tonumber(values[3]) or 0, tokens = tonumber(values[4]) or 0,
    day = tonumber(values[5]) or 0, month = tonumber(values[6]) or 0, latest_day = values[7],
  }
  if counters.newest and counters.newest > now_s then move_future(counters) end
  local expired = now_s - WINDOW_S - 1
  if not counters.oldest or counters.oldest > expired then return counters end
  local last = math.min(counters.newest, expired)
  local fields = bucket_names(counters.oldest, last)
  local amounts = redis.call('HMGET', key, unpack(fields))
  for i = 1, #fields, 2 do
    counters.requests = counters.requests - (tonumber(amounts[i]) or 0)
    counters.tokens = counters.tokens - (tonumber(amounts[i + 1]) or 0)
  end
  redis.call('HDEL', key, unpack(fields))
  if last == counters.newest then
    counters.oldest, counters.newest, counters.requests, counters.tokens = nil, nil, 0, 0
    redis.call('HDEL', key, 'oldest', 'newest', 'requests', 'tokens')
  else
    counters.oldest = last + 1
    redis.call('HSET', key, 'oldest', counters.oldest, 'requests', int(counters.requests),
      'tokens', int(counters.tokens))
  end
  return counters
end

-- Once a day: deletes the spend of all but the latest days and months, and extends the life of the key.
-- It keeps a number of days rather than deleting by date, because a gateway's clock may be ahead.
local function start_day(counters, day)
  if (counters.latest_day or '0') >= day then return end
  local fields = {d = {}, m = {}}
  for _, field in ipairs(redis.call('HKEYS', counters.key)) do
    local kind = string.match(field, '^([dm])%d+$')
    if kind then table.insert(fields[kind], field) end
  end
  for kind, kept in pairs({d = KEPT_DAYS, m = KEPT_MONTHS}) do
    table.sort(fields[kind])
    for i = 1, #fields[kind] - kept do redis.call('HDEL', counters.key, fields[kind][i]) end
  end
  redis.call('HSET', counters.key, 'day', day)
  redis.call('EXPIRE', counters.key, KEEP_S)
end

local function book(counters, second, day, requests, tokens, cost)
  start_day(counters, day)
  local key = counters.key
  -- Reserved before the clock was set back: the bucket has moved, so what is returned stays counted.
  if second > now_s then second, requests, tokens = now_s, math.max(requests, 0), math.max(tokens, 0) end
  if second > now_s - WINDOW_S - 1 then
    counters.oldest = math.min(counters.oldest or second, second)
    counters.newest = math.max(counters.newest or second, second)
    counters.requests, counters.tokens = counters.requests + requests, counters.tokens + tokens
    redis.call('HSET', key, 'oldest', counters.oldest, 'newest', counters.newest,
      'requests', int(counters.requests), 'tokens', int(counters.tokens))
    redis.call('HINCRBY', key, 'r' .. second, int(requests))
    if tokens ~= 0 then redis.call('HINCRBY', key, 't' .. second, int(tokens)) end
  end
  if cost ~= 0 then
    counters.day = tonumber(redis.call('HINCRBY', key, 'd' .. day, int(cost)))
    counters.month = tonumber(redis.call('HINCRBY', key, 'm' .. string.sub(day, 1, 6), int(cost)))
  end
end

local function parse(reservation)
  local second, day, requests, tokens, cost = string.match(reservation, '^(%d+)|(%d+)|(%d+)|(%d+)|(%d+)|')
  return tonumber(second), day, tonumber(requests), tonumber(tokens), tonumber(cost)
end
"""

# ARGV: incarnation, request id, day, requests, tokens, cost, whether a budget must be left (1 or 0), lease in
# ms, then the five limits of the tenant and those of the key, -1 for none. Returns {'rebuild'}, or
# {'admitted' or 'refused', time in ms, scope, limit, wait in ms} and six numbers for each scope. The scope
# is 1 for the tenant and 2 for the key, the limit is its number in ARGV, the wait -1 if waiting won't help.
_RESERVE = """
local incarnation, request_id, day = ARGV[1], ARGV[2], ARGV[3]
local requests, tokens, cost = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local needs_budget, lease_ms = ARGV[7] == '1', tonumber(ARGV[8])
local is_limited = false
for i = 9, 18 do is_limited = is_limited or tonumber(ARGV[i]) >= 0 end
local stored, reserved_day = unpack(redis.call('HMGET', TENANT, 'incarnation', 'reserved_day'))
if reserved_day and reserved_day < day then
  -- A new day: what is reserved without a request counts on it from now on.
  redis.call('HDEL', TENANT, 'incarnation', 'reserved_day')
  stored = false
end
if stored ~= incarnation and is_limited then return {'rebuild'} end
if stored ~= incarnation and stored ~= incarnation .. '?' then
  redis.call('HSET', TENANT, 'incarnation', incarnation .. '?')
end

local tenant, key = load(TENANT, day), load(KEY, day)
tenant.concurrent = redis.call('ZCOUNT', LEASES, '(' .. int(now_ms), '+inf')
key.concurrent = redis.call('ZCOUNT', KEY_LEASES, '(' .. int(now_ms), '+inf')

-- Time until at least `excess` units have left the window.
local function wait_ms(counters, kind, excess)
  if not counters.oldest then return -1 end
  local fields = {}
  for second = counters.oldest, counters.newest do fields[#fields + 1] = kind .. second end
  for i, amount in ipairs(redis.call('HMGET', counters.key, unpack(fields))) do
    excess = excess - (tonumber(amount) or 0)
    if excess <= 0 then return (counters.oldest + i + WINDOW_S) * 1000 - now_ms end
  end
  return -1
end

local worst
local function refuse(scope, limit, rank, wait)
  if not worst or rank > worst.rank or (rank == worst.rank and wait > worst.wait) then
    worst = {scope = scope, limit = limit, rank = rank, wait = wait}
  end
end

local function check(counters, scope)
  local limit = {}
  for i = 1, 5 do
    local value = tonumber(ARGV[3 + scope * 5 + i])
    limit[i] = value >= 0 and value or nil
  end
  local function check_rate(number, kind, amount, use)
    if not limit[number] or amount == 0 or use + amount <= limit[number] then return end
    local wait = amount <= limit[number] and wait_ms(counters, kind, use + amount - limit[number]) or -1
    refuse(scope, number, wait < 0 and 2 or 1, wait)
  end
  check_rate(1, 'r', requests, counters.requests)
  check_rate(2, 't', tokens, counters.tokens)
  if limit[3] and counters.concurrent >= limit[3] then
    refuse(scope, 3, limit[3] == 0 and 2 or 0, limit[3] == 0 and -1 or 0)
  end
  for i, spend in ipairs({counters.day, counters.month}) do
    local budget = limit[3 + i]
    if budget and ((cost > 0 and spend + cost > budget) or (needs_budget and spend >= budget)) then
      refuse(scope, 3 + i, 2 + i, 0)
    end
  end
end
check(tenant, 1)
check(key, 2)

if not worst then
  for _, counters in ipairs({tenant, key}) do
    book(counters, now_s, day, requests, tokens, cost)
    counters.concurrent = counters.concurrent + 1
  end
  redis.call('HSET', RESERVATIONS, request_id,
    table.concat({now_s, day, int(requests), int(tokens), int(cost), string.match(KEY, '[^:]*$')}, '|'))
  redis.call('ZADD', LEASES, int(now_ms + lease_ms), request_id)
  redis.call('ZADD', KEY_LEASES, int(now_ms + lease_ms), request_id)
end

local refusal = worst or {scope = 0, limit = 0, wait = 0}
local reply = {worst and 'refused' or 'admitted', now_ms, refusal.scope, refusal.limit, refusal.wait}
for _, counters in ipairs({tenant, key}) do
  local reset_ms = counters.newest and (counters.newest + WINDOW_S + 1) * 1000 - now_ms or 0
  for _, value in ipairs({counters.requests, counters.tokens, counters.concurrent, counters.day,
    counters.month, reset_ms}) do
    reply[#reply + 1] = value
  end
end
return reply
"""

# ARGV: request id, requests, tokens and cost that replace the reserved ones. Returns 1, or 0 if there is no
# such reservation: it has been settled already.
_SETTLE = """
local request_id = ARGV[1]
-- A meter with a negative count must not make room.
local requests, tokens, cost = math.max(0, ARGV[2]), math.max(0, ARGV[3]), math.max(0, ARGV[4])
local reservation = redis.call('HGET', RESERVATIONS, request_id)
redis.call('ZREM', LEASES, request_id)
redis.call('ZREM', KEY_LEASES, request_id)
if not reservation then return 0 end
redis.call('HDEL', RESERVATIONS, request_id)
local second, day, reserved_requests, reserved_tokens, reserved_cost = parse(reservation)
for _, scope in ipairs({TENANT, KEY}) do
  book(load(scope, day), second, day, requests - reserved_requests, tokens - reserved_tokens,
    cost - reserved_cost)
end
return 1
"""

# ARGV: request id. Ends the lease, so that the request is no longer concurrent; the rest stays reserved.
_RELEASE = """
redis.call('ZADD', LEASES, 'XX', int(now_ms), ARGV[1])
redis.call('ZADD', KEY_LEASES, 'XX', int(now_ms), ARGV[1])
return 1
"""

# ARGV: incarnation, lease in ms, then for each request its id, its reservation, and 1 if Redis may have lost
# it, else 0: then the sweep has settled it. Returns 0 if the counters have to be rebuilt first.
_RENEW = """
local stored = redis.call('HGET', TENANT, 'incarnation')
if stored ~= ARGV[1] and stored ~= ARGV[1] .. '?' then return 0 end
local expiry = int(now_ms + tonumber(ARGV[2]))
for i = 3, #ARGV, 3 do
  local request_id, reservation, is_missing = ARGV[i], ARGV[i + 1], false
  if redis.call('HEXISTS', RESERVATIONS, request_id) == 0 then
    is_missing = ARGV[i + 2] == '0'
    if not is_missing then
      local second, day, requests, tokens, cost = parse(reservation)
      redis.call('HSET', RESERVATIONS, request_id, reservation)
      book(load(TENANT, day), second, day, requests, tokens, cost)
      book(load(KEY, day), second, day, requests, tokens, cost)
    end
  end
  if not is_missing then
    redis.call('ZADD', LEASES, expiry, request_id)
    redis.call('ZADD', KEY_LEASES, expiry, request_id)
  end
end
return 1
"""

# KEYS: the counters of the tenant, its lock, its reservations and leases, then the counters and leases of
# each of its keys. ARGV: token of the lock, lease in ms, JSON with ``incarnation``, ``tenant`` (fields of its
# counters), ``keys`` (fields of the counters of each key, in the order of KEYS) and ``reservations`` (lists
# of request id, position of its key or 0, reservation). Returns 0 if the lock is lost.
_REBUILD = """
local token, lease_ms = ARGV[1], tonumber(ARGV[2])
if redis.call('GET', KEYS[2]) ~= token then return 0 end
local state = cjson.decode(ARGV[3])
local time = redis.call('TIME')
local expiry = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms)

local function fill(key, fields)
  local values = {}
  for name, value in pairs(fields) do
    values[#values + 1] = name
    values[#values + 1] = value
  end
  if #values > 0 then
    redis.call('HSET', key, unpack(values))
    redis.call('EXPIRE', key, 40 * 86400)
  end
end

for _, key in ipairs(KEYS) do redis.call('DEL', key) end
state.tenant.incarnation = state.incarnation
fill(KEYS[1], state.tenant)
for i, fields in ipairs(state.keys) do fill(KEYS[3 + i * 2], fields) end
for _, entry in ipairs(state.reservations) do
  redis.call('HSET', KEYS[3], entry[1], entry[3])
  redis.call('ZADD', KEYS[4], expiry, entry[1])
  if entry[2] > 0 then redis.call('ZADD', KEYS[4 + entry[2] * 2], expiry, entry[1]) end
end
return 1
"""

RESERVE = LuaScript(_SHARED + _RESERVE)
SETTLE = LuaScript(_SHARED + _SETTLE)
RELEASE = LuaScript(_SHARED + _RELEASE)
RENEW = LuaScript(_SHARED + _RENEW)
REBUILD = LuaScript(_REBUILD)
