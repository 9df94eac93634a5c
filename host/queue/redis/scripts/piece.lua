-- Reads a piece of a job in flight: one that is too large for a single reply. Moves nothing.
-- keys: in-flight of the host   args: tag, bytes to skip, bytes
-- returns: the piece; nil if the delivery is no longer the host's
local job = redis.call('HGET', KEYS[1], ARGV[1])
return job and string.sub(job, ARGV[2] + 1, ARGV[2] + ARGV[3])
