-- in flight → in flight with places, or waiting in a lane of a group. Of deliveries that were ready, each starts whose lane is empty
-- while no lane has its turn, if every cap of the lane lets one start: it takes a place of each of these, and stays where it is.
-- All others go to the ends of their lanes, as a settlement would have them do.
-- Asked again, it takes the same places once more, which are one; what went to its lane the first time is gone.
-- keys: in-flight of the host, lanes that hold jobs
-- args: the beginning of the group's keys, the group's name, for how many ms a place is remembered that nobody gives back, number
--   of deliveries; of each its tag and its lane; then the limits, as `read_limits` has them
-- returns: for each 1 if it starts, 0 if it waits, -1 if the host does not hold it
at = ARGV[1]
local count = tonumber(ARGV[4])
read_limits(5 + 2 * count)
local time = redis.call('TIME')
local clock = time[1] + time[2] / 1000000
-- In a slot that is moving away, a key without a value cannot even be asked for one: what would fail there fails here or in
-- `caps_of`, before anything moves.
any_full = redis.call('ZCARD', at .. 'full') > 0
local any_shut = redis.call('ZCARD', at .. 'shut') > 0
redis.call('SCARD', KEYS[2])
local any_waits = redis.call('SCARD', at .. 'lanes') > 0
local due = redis.call('ZCOUNT', at .. 'turns', '-inf', string.format('%.17g', clock)) > 0
local fates, caps, wait_tags, wait_lanes, waits = {}, {}, {}, {}, {}

-- Whether a job of a lane may start although it never waited.
local function may_start(lane)
  if due or waits[lane] or any_waits and ask_for_lane(at, lane) > 0 then
    return false
  end
  if any_shut and tonumber(redis.call('ZSCORE', at .. 'shut', lane) or 0) > clock then
    return false
  end
  for _, cap in ipairs(caps_of(lane)) do
    if cap.blocked > 0 or free(cap, clock) < 1 then
      return false
    end
  end
  return true
end

for i = 1, count do
  local tag, lane = ARGV[3 + 2 * i], ARGV[4 + 2 * i]
  if redis.call('HEXISTS', KEYS[1], tag) == 0 then
    fates[i] = -1
  elseif may_start(lane) then
    fates[i] = 1
    for _, cap in ipairs(caps_of(lane)) do
      take_place(cap, KEYS[1] .. ':' .. tag, clock)
      caps[cap.name] = cap
    end
  else
    ask_for_lane(at, lane)
    fates[i], waits[lane], wait_tags[#wait_tags + 1], wait_lanes[#wait_lanes + 1] = 0, true, tag, lane
  end
end
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
redis.call('HDEL', KEYS[1], '')
for _, cap in pairs(caps) do
  write_cap(cap, clock, ARGV[3])
end
if #wait_tags > 0 then
  queue_up(KEYS[2], at, ARGV[2], wait_tags, wait_lanes)
end
return fates
