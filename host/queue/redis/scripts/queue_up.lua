-- What `settle.lua` and `admit.lua` begin with: how jobs in flight come to the ends of lanes of a group.

-- Longer than any member that Redis keeps in one small block. In such a block it looks for a member, and for the place of a score, from the
-- beginning on, and reads each score as a decimal number: a hundred lanes take ten times as long as in a set that once had a
-- longer member.
local LONG = string.rep('-', 65)

-- How many jobs the lanes hold that others come to, by the lanes' keys.
local lengths = {}

-- Asks for all that `queue_up` writes to, and returns how many jobs the lane holds. What is of the wrong type fails here, before
-- anything moves; in a slot that is moving away, a key without a value cannot even be asked for, and fails here as well.
local function ask_for_lane(at, lane)
  local list = at .. 'lane:' .. lane
  if not lengths[at] then
    lengths[at] = 0
    lengths[at .. 'turns'] = redis.call('ZCARD', at .. 'turns')
    redis.call('SCARD', at .. 'lanes')
    redis.call('GET', at .. 'waiting')
  end
  lengths[list] = lengths[list] or redis.call('LLEN', list)
  return lengths[list]
end

-- Moves deliveries of the host to the ends of their lanes, in this order. Lanes that were empty get their turns after all others,
-- a microsecond after each other. Returns the tags that the host does not hold.
-- `holding`: the key of the lanes that hold jobs; `at`: the beginning of the group's keys
local function queue_up(holding, at, group, tags, lanes)
  local jobs, waiting, order, gone, missing = redis.call('HMGET', KEYS[1], unpack(tags)), {}, {}, {}, {}
  for i, lane in ipairs(lanes) do
    if jobs[i] then
      if not waiting[lane] then
        waiting[lane] = {}
        order[#order + 1] = lane
      end
      waiting[lane][#waiting[lane] + 1] = jobs[i]
      gone[#gone + 1] = tags[i]
    else
      missing[#missing + 1] = tags[i]
    end
  end
  if #gone == 0 then
    return missing
  end
  -- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
  redis.call('HDEL', KEYS[1], '')
  redis.call('SADD', holding, group)
  redis.call('SADD', at .. 'lanes', unpack(order))
  local time, turns = redis.call('TIME'), {}
  for i, lane in ipairs(order) do
    if lengths[at .. 'lane:' .. lane] == 0 then
      turns[#turns + 1] = string.format('%.17g', time[1] + (time[2] + i - #order) / 1000000)
      turns[#turns + 1] = lane
    end
  end
  if #turns > 0 then
    local is_new = lengths[at .. 'turns'] == 0
    if is_new then
      turns[#turns + 1], turns[#turns + 2] = 0, LONG
    end
    redis.call('ZADD', at .. 'turns', unpack(turns))
    if is_new then
      redis.call('ZREM', at .. 'turns', LONG)
    end
  end
  for _, lane in ipairs(order) do
    redis.call('RPUSH', at .. 'lane:' .. lane, unpack(waiting[lane]))
  end
  redis.call('INCRBY', at .. 'waiting', #gone)
  redis.call('HDEL', KEYS[1], unpack(gone))
  return missing
end
