-- failed → gone, or ready. Takes entries out of the failed list, each exactly if it is still there: at the place where it
-- was read, or as many places before that as entries have gone since.
-- keys: failed, ready lists that jobs go to
-- args: take or look, a text that is no entry, then for each entry: its place, its length, its first bytes, the number of
--   the ready list that its job goes to or 0, the job
-- returns: for each 1 if it was there, else 0; with look, nothing has moved
for i = 2, #KEYS do
  redis.call('LLEN', KEYS[i]) -- A key of the wrong type fails here, before anything has moved.
end
-- A few are read at once: to walk to each place takes longer.
local seen = {}
local function at_place(place)
  if not seen[place] then
    seen = {}
    for k, entry in ipairs(redis.call('LRANGE', KEYS[1], place, place + 15)) do
      seen[place + k - 1] = entry
    end
  end
  return seen[place]
end
local function is_at(i, place)
  local entry = place >= 0 and at_place(place)
  return entry and #entry == tonumber(ARGV[i + 1]) and string.sub(entry, 1, #ARGV[i + 2]) == ARGV[i + 2]
end
local there, taken, order, gone, searches = {}, {}, {}, 0, 0
for i = 3, #ARGV, 5 do
  local place = ARGV[i] - gone
  local found = is_at(i, place)
  if not found and searches < 16 then -- Each takes as long as the list is.
    searches = searches + 1
    local at = redis.call('LPOS', KEYS[1], ARGV[i + 2], 'MAXLEN', place + 1)
    if at and is_at(i, at) then
      found, gone, place = true, ARGV[i] - at, at
    end
  end
  found = found and not taken[place] -- The same entry may have been asked for twice.
  there[#there + 1] = found and 1 or 0
  if found then
    taken[place] = i
    order[#order + 1] = place
  end
end
if ARGV[1] == 'look' or #order == 0 then
  return there
end
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
redis.call('LTRIM', KEYS[1], 0, -1)
for _, place in ipairs(order) do
  local i = taken[place]
  if tonumber(ARGV[i + 3]) > 0 then
    redis.call('RPUSH', KEYS[1 + ARGV[i + 3]], ARGV[i + 4])
  end
end
-- Marked by their places, they are removed in one go from whichever end is nearer: to remove each would search for each.
for _, place in ipairs(order) do
  redis.call('LSET', KEYS[1], place, ARGV[2])
end
local from_head = order[1] < redis.call('LLEN', KEYS[1]) / 2
redis.call('LREM', KEYS[1], from_head and #order or -#order, ARGV[2])
return there
