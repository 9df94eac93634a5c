-- Counts the failed list. Moves nothing.
-- keys: failed, its older part
-- returns: entries in both parts, those of them in the older one
local older = redis.call('LLEN', KEYS[2])
return {older + redis.call('LLEN', KEYS[1]), older}
