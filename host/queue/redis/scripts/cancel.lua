-- Marks jobs as cancelled, by their ids, and forgets marks that have ended. A mark that lasts longer is left as it is.
-- keys: cancelled, cancelled-until, orders   args: most marks, how long these last in ms, then the ids, none twice
-- returns: for each id 1 if it was marked before, else 0; nil, and nothing is marked, if there would be too many marks
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Keys of the wrong type fail here, before anything has changed.
redis.call('ZCARD', KEYS[1])
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, 5000)
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
redis.call('ZREM', KEYS[1], ' ')
if #old > 0 then
  redis.call('ZREM', KEYS[1], unpack(old))
  redis.call('ZREM', KEYS[2], unpack(old))
end
local were, new = {}, 0
for i = 3, #ARGV do
  were[i - 2] = redis.call('ZSCORE', KEYS[1], ARGV[i]) and 1 or 0
  new = new + 1 - were[i - 2]
end
-- The empty id is no mark. It keeps the keys, so that they can be asked for in a slot that is moving away.
if new > 0 and redis.call('ZCARD', KEYS[1]) + new > ARGV[1] + 1 then
  return false
end
local version = redis.call('HINCRBY', KEYS[3], 'cancels', 1)
redis.call('ZADD', KEYS[2], '+inf', '')
redis.call('ZADD', KEYS[1], 0, '')
for i = 3, #ARGV do
  redis.call('ZADD', KEYS[2], 'GT', now + ARGV[2], ARGV[i])
  redis.call('ZADD', KEYS[1], version, ARGV[i])
end
return were
