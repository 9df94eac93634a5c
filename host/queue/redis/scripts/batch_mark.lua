-- Notes that a job of a batch has ended, and tells who is to push what comes of that: one entry of an outbox for each callback,
-- however often it is asked, since whoever reads the entry asks again.
-- keys: the ids of the jobs that have completed, of those that have failed, of those that were added; what else is known
-- args: the entry; the job's id; 'failed' or 'done'; how many jobs were announced, 0: unknown; the most that may be added; ms for
--   which the batch is remembered; then the ids of the jobs that are added
-- returns: jobs in all, completed, failed; then 1 or 0 for each: whether the entry is to push what comes when all have
--   completed, when all have ended, and if the batch is late
local done, failed, added, meta = unpack(KEYS)
local entry, member = ARGV[1], ARGV[2]
-- A key of the wrong type fails here, before anything has changed.
redis.call('SCARD', done)
redis.call('SCARD', failed)
redis.call('SCARD', added)
local time = redis.call('TIME')
-- Who comes first, and whether anybody is here, are told by what nobody takes back.
local late = redis.call('HGET', meta, 'late')
if not late then
  redis.call('HSET', meta, 'late', entry, 'began', time[1] * 1000 + math.floor(time[2] / 1000))
end
local announced = math.max(tonumber(redis.call('HGET', meta, 'of') or 0), tonumber(ARGV[4]))
redis.call('HSET', meta, 'of', announced)
for i = 7, #ARGV do
  if redis.call('SCARD', added) < tonumber(ARGV[5]) then
    redis.call('SADD', added, ARGV[i])
  end
end
if ARGV[3] == 'done' then
  redis.call('SADD', done, member)
  redis.call('SREM', failed, member)
elseif redis.call('SISMEMBER', done, member) == 0 then
  redis.call('SADD', failed, member)
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[6])
end
local total = announced + redis.call('SCARD', added)
local completed, lost = redis.call('SCARD', done), redis.call('SCARD', failed)
local function is_mine(what, happens)
  if happens and redis.call('HSETNX', meta, what, entry) == 1 then
    return 1
  end
  return happens and redis.call('HGET', meta, what) == entry and 1 or 0
end
return {
  total,
  completed,
  lost,
  is_mine('then', announced > 0 and completed >= total and lost == 0),
  is_mine('complete', announced > 0 and completed + lost >= total),
  is_mine('late', true),
}
