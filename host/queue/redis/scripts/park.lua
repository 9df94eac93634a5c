-- in flight, started → in flight, not started. By default what is in flight counts as started.
-- keys: in-flight of the host, parked of the host   args: tag
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  redis.call('SADD', KEYS[2], ARGV[1])
end
