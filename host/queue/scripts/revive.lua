-- failed → ready. Puts a job back, exactly if its failed entry is still there.
-- keys: failed, ready   args: entry, job
-- returns: 1 if it was, else 0
redis.call('LLEN', KEYS[2]) -- A key of the wrong type fails here, before anything has moved.
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
  return 0
end
redis.call('RPUSH', KEYS[2], ARGV[2])
return 1
