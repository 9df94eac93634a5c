-- Gives the host's lease up, unless something is still in flight under it: that waits for the reaper.
-- keys: leases, in-flight of the host, last tag of the host   args: host
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[3])
end
