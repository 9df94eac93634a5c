-- Adds to what is kept of attempts at jobs of a queue. What has been kept for long enough makes room, and the job that was
-- added to longest ago does where there is too much.
-- keys: histories: job → a line for each attempt, and '' → bytes of all; the jobs by when they were added to last, in ms
-- args: how long they are kept in ms, most jobs, most bytes of all, most bytes of one job; then for each attempt the job's id
--   and the line
local kept, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local most_bytes, most_of_one = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZCARD', KEYS[2]) -- A key of the wrong type fails here, before anything is written.
local bytes = 0
for i = 5, #ARGV, 2 do
  local before = redis.call('HGET', KEYS[1], ARGV[i]) or ''
  local lines = before == '' and ARGV[i + 1] or before .. '\n' .. ARGV[i + 1]
  while #lines > most_of_one do
    local first_end = string.find(lines, '\n', 1, true)
    if not first_end then
      break
    end
    lines = string.sub(lines, first_end + 1)
  end
  redis.call('HSET', KEYS[1], ARGV[i], lines)
  redis.call('ZADD', KEYS[2], now, ARGV[i])
  bytes = redis.call('HINCRBY', KEYS[1], '', #lines - #before)
end
local jobs = redis.call('ZCARD', KEYS[2])
-- A few more than were added: so what has been kept for long enough goes by and by.
for _ = 1, #ARGV do
  local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  if not first[1] or jobs <= most and bytes <= most_bytes and now - first[2] <= kept then
    break
  end
  local len = redis.call('HSTRLEN', KEYS[1], first[1])
  redis.call('HDEL', KEYS[1], first[1])
  redis.call('ZREM', KEYS[2], first[1])
  bytes, jobs = redis.call('HINCRBY', KEYS[1], '', -len), jobs - 1
end
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[2], ARGV[1])
