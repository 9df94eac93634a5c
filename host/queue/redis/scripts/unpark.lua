-- in flight, not started → in flight, started. The host runs the job only after it has heard the answer.
-- keys: in-flight of the host, parked of the host   args: tag
-- returns: 1 if the delivery is still the host's, else 0
redis.call('SREM', KEYS[2], ARGV[1])
return redis.call('HEXISTS', KEYS[1], ARGV[1])
