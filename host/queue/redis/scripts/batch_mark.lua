-- Notes that jobs of a batch have ended, and tells who is to push what comes of that: one entry of an outbox for each callback,
-- however often it is asked, since whoever reads the entry asks again.
-- keys: the ids of the jobs that have completed, of those that have failed, of those that were added; what else is known
-- args: the most that may be added; ms for which the batch is remembered; then for each job: the entry; the job's id; 'failed' or
--   'done'; how many jobs were announced, 0: unknown; how many are added, and their ids
-- returns: for each job: jobs in all, completed, failed; then 1 or 0 for each: whether the entry is to push what comes when all
--   have completed, when all have ended, and if the batch is late
local done, failed, added, meta = unpack(KEYS)
-- A key of the wrong type fails here, before anything has changed.
local completed, lost, more = redis.call('SCARD', done), redis.call('SCARD', failed), redis.call('SCARD', added)
local known = redis.call('HMGET', meta, 'late', 'of', 'then', 'complete')
local noted, announced = {late = known[1], ['then'] = known[3], complete = known[4]}, tonumber(known[2] or 0)

local function is_mine(entry, what, happens)
  if happens and not noted[what] then
    redis.call('HSET', meta, what, entry)
    noted[what] = entry
  end
  return happens and noted[what] == entry and 1 or 0
end

-- Who comes first, and whether anybody is here, are told by what nobody takes back.
if not noted.late then
  local time = redis.call('TIME')
  redis.call('HSET', meta, 'late', ARGV[3], 'began', time[1] * 1000 + math.floor(time[2] / 1000))
  noted.late = ARGV[3]
end
local answers, at = {}, 3
while at <= #ARGV do
  local entry, member, fate, of, adds = unpack(ARGV, at, at + 4)
  if tonumber(of) > announced or not known[2] then
    announced = math.max(announced, tonumber(of))
    redis.call('HSET', meta, 'of', announced)
    known[2] = announced
  end
  for i = at + 5, at + 4 + adds do
    if more < tonumber(ARGV[1]) then
      more = more + redis.call('SADD', added, ARGV[i])
    end
  end
  if fate == 'done' then
    completed = completed + redis.call('SADD', done, member)
    lost = lost - (lost > 0 and redis.call('SREM', failed, member) or 0)
  elseif redis.call('SISMEMBER', done, member) == 0 then
    lost = lost + redis.call('SADD', failed, member)
  end
  local total = announced + more
  answers[#answers + 1] = {
    total,
    completed,
    lost,
    is_mine(entry, 'then', announced > 0 and completed >= total and lost == 0),
    is_mine(entry, 'complete', announced > 0 and completed + lost >= total),
    is_mine(entry, 'late', true),
  }
  at = at + 5 + adds
end
for i, size in ipairs({completed, lost, more, 1}) do
  if size > 0 then
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end
return answers
