-- Counts the entries of the failed list. Moves nothing.
-- keys: failed, its older part
-- returns: entries in both parts together, entries in the older part
local older = redis.call('LLEN', KEYS[2])
return {older + redis.call('LLEN', KEYS[1]), older}
