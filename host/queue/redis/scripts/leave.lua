-- Deletes the host's lease, unless jobs are still in flight under it: those wait until the lease runs out.
-- keys: leases, in-flight of the host, last tag of the host   args: host
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('DEL', KEYS[3])
end
