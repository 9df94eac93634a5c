-- failed → failed. Moves the border between the older part of the failed list and the other part. Taking entries from the
-- end of a list is cheap; taking them from its middle costs as much as they are far from its ends. The order of the entries
-- stays. A border beyond the end makes the list one part again.
-- keys: failed, its older part   args: where the border is, where it is to be, entries and bytes that are enough for now
-- returns: entries in both parts, where the border is now, 1; or 0 instead of 1 if it was elsewhere, and nothing has moved
local newer, older = redis.call('LLEN', KEYS[1]), redis.call('LLEN', KEYS[2])
local from, to, left, bytes = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local len = older + newer
if from ~= older then
  return {len, older, 0}
end
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
redis.call('LTRIM', KEYS[1], 0, -1)
-- From the other end it may be nearer.
if older == 0 and newer > 0 and to > len / 2 and to <= len then
  redis.call('RENAME', KEYS[1], KEYS[2])
  older = len
elseif newer == 0 and older > 0 and to < len / 2 then
  redis.call('RENAME', KEYS[2], KEYS[1])
  older = 0
end
while older ~= to and left > 0 and bytes > 0 do
  local entry
  if older < to then
    entry = redis.call('LMOVE', KEYS[1], KEYS[2], 'LEFT', 'RIGHT')
    older = older + 1
  else
    entry = redis.call('LMOVE', KEYS[2], KEYS[1], 'RIGHT', 'LEFT')
    older = older - 1
  end
  if not entry then
    break
  end
  left, bytes = left - 1, bytes - #entry
end
if to > len and len > 0 and redis.call('LLEN', KEYS[1]) == 0 then
  redis.call('RENAME', KEYS[2], KEYS[1])
end
return {len, redis.call('LLEN', KEYS[2]), 1}
