-- What `serve.lua`, `admit.lua` and `sweep.lua` begin with: the limits of a group of lanes, and which lanes they let run.
--
-- Each lane of a group that holds jobs is in one of two sorted sets, by the time of its turn in Unix seconds: `turns`, or
-- `blocked:{cap}` while that cap lets no more jobs start. A lane's name is that of all its caps, so one look tells what a job
-- of it needs. A lane is touched when it is served and when it is blocked, and never looked at in between: a place that
-- becomes free brings back one lane, and where time has to pass, a *gate* stands in `turns` in place of all lanes that wait
-- for it, by the time when it opens.

-- How many lanes are brought back at once at most.
local MOST_OPENED = 1000

local at, limits, known = '', {}, {}

-- Whether any cap may block lanes: all that do are in the set `full`.
local any_full = true

-- The arguments from this one on: of each limit its id, the places it has or 0, the seconds between two starts or 0, and how
-- many may start at once.
local function read_limits(first)
  for i = first, #ARGV, 4 do
    limits[ARGV[i]] = {places = tonumber(ARGV[i + 1]), every = tonumber(ARGV[i + 2]), burst = tonumber(ARGV[i + 3])}
  end
end

-- Whether a cap is the key by which jobs are unique. Of these more is known, in a hash of their own.
local function is_unique(name)
  return string.sub(name, 1, 7) == 'unique='
end

-- What is known of a cap by its name. One of a limit that is no more lets everything start.
local function cap_of(name)
  local cap = known[name]
  if not cap then
    local limit = limits[string.match(name, '^[^=]*')] or {places = 0, every = 0, burst = 1}
    cap = {name = name, places = limit.places, every = limit.every, burst = limit.burst, opened = 0, held = 0, next = 0}
    cap.blocked, cap.in_full = any_full and redis.call('ZCARD', at .. 'blocked:' .. name) or 0, any_full
    if cap.places > 0 then
      cap.held = redis.call('SCARD', at .. 'held:' .. name)
    end
    if cap.every > 0 then
      cap.next = tonumber(redis.call('GET', at .. 'rate:' .. name) or 0)
    end
    if is_unique(name) then
      redis.call('HLEN', at .. 'key:' .. name)
    end
    known[name] = cap
  end
  return cap
end

local function caps_of(lane)
  local caps = {}
  for name in string.gmatch(lane, '[^|]+') do
    caps[#caps + 1] = cap_of(name)
  end
  return caps
end

-- How many jobs may start under a cap. A microsecond is what Redis' clock and the numbers are good for.
local function free(cap, clock)
  local most = math.huge
  if cap.places > 0 then
    most = cap.places - cap.held
  end
  if cap.every > 0 then
    local ahead = math.max(cap.next - clock - 0.000001, 0)
    most = math.min(most, math.floor(cap.burst - ahead / cap.every))
  end
  return most
end

-- Takes a place for a delivery, and lets the next one start later. `write_cap` writes that.
local function take_place(cap, holder, clock)
  if cap.places > 0 then
    cap.holders = cap.holders or {}
    cap.holders[#cap.holders + 1] = holder
    cap.held = cap.held + 1
  end
  if cap.every > 0 then
    cap.next, cap.starts = math.max(cap.next, clock) + cap.every, true
  end
end

-- `remembered_ms`: for how long a place is remembered that nobody gives back.
local function write_cap(cap, now, remembered_ms)
  if cap.holders then
    redis.call('SADD', at .. 'held:' .. cap.name, unpack(cap.holders))
    redis.call('PEXPIRE', at .. 'held:' .. cap.name, remembered_ms)
    cap.holders = nil
  end
  if cap.starts then
    local forgotten = math.ceil((cap.next - now) * 1000) + 1
    redis.call('SET', at .. 'rate:' .. cap.name, string.format('%.17g', cap.next), 'PX', string.format('%.0f', forgotten))
    cap.starts = nil
  end
end

-- Gives as many of the lanes that a cap blocks their turns as may start a job, the one that waited longest first. If only
-- time lets more start, a gate takes their place. Returns whether that changed
-- which lanes are due in this moment.
local function open(cap, clock)
  local gives = false
  if cap.blocked > 0 then
    local most = math.min(cap.blocked, free(cap, clock) - cap.opened, MOST_OPENED)
    if most > 0 then
      local lanes = redis.call('ZRANGE', at .. 'blocked:' .. cap.name, 0, most - 1, 'WITHSCORES')
      for i = 1, #lanes, 2 do
        lanes[i], lanes[i + 1] = lanes[i + 1], lanes[i]
      end
      if #lanes > 0 then
        redis.call('ZADD', at .. 'turns', unpack(lanes))
      end
      redis.call('ZREMRANGEBYRANK', at .. 'blocked:' .. cap.name, 0, most - 1)
      cap.opened, cap.blocked, gives = cap.opened + most, cap.blocked - most, true
    end
  end
  if cap.blocked == 0 then
    if cap.in_full then
      redis.call('ZREM', at .. 'full', cap.name)
      cap.in_full = false
    end
  elseif cap.every > 0 or cap.places == 0 then
    local opens = cap.every > 0 and math.max(cap.next, clock) + (cap.opened - cap.burst + 1) * cap.every or clock
    if opens > clock or cap.places == 0 then
      redis.call('ZADD', at .. 'turns', string.format('%.17g', opens), '@' .. cap.name)
      gives = gives or opens < clock + 0.001
    end
  end
  return gives
end
