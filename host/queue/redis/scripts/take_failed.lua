-- failed → gone, or ready. Takes entries out of the failed list, each only if it is still there: at the place where it was
-- read, or as many places before that as entries have gone since.
-- Where the list is one part, entries are taken out where they lie: finding and removing them takes as long as they are far
-- from the nearer end of the list. Where it has two parts, they are the last of the older part: the entries in between move
-- to the other part, and each takes the same time, however long the list is.
-- keys: failed, its older part, the ready lists that jobs go to
-- args: take or look, how many entries the older part has, a text that is no entry; then for each entry, in the order of
--   their places: its place, its length, its first bytes, the number of the ready list that its job goes to or 0, the job
-- returns: for each entry 1 if it was there, else 0 (look moves nothing); nil if the older part has more or fewer entries
local border = redis.call('LLEN', KEYS[2])
if border ~= tonumber(ARGV[2]) then
  return false
end
for i = 3, #KEYS do
  redis.call('LLEN', KEYS[i]) -- A key of the wrong type fails here, before anything has moved.
end
local part = border > 0 and KEYS[2] or KEYS[1]
local len = redis.call('LLEN', part)
-- A few are read at once: to walk to each place takes longer.
local seen = {}
local function at_place(place)
  if not seen[place] then
    seen = {}
    for k, entry in ipairs(redis.call('LRANGE', part, place, place + 15)) do
      seen[place + k - 1] = entry
    end
  end
  return seen[place]
end
local function is_at(i, place)
  local entry = place >= 0 and place < len and at_place(place)
  return entry and #entry == tonumber(ARGV[i + 1]) and string.sub(entry, 1, #ARGV[i + 2]) == ARGV[i + 2]
end
-- The first place behind that of the one before, and no further on than it was read. All searches together go through no
-- more entries than so many.
local left = 100000
local function search(i, before)
  local place, found = tonumber(ARGV[i])
  local from_head = place < len / 2
  local some = math.min(left, from_head and place + 1 or math.max(0, len - place) + 4000)
  left = left - some
  for _, at in ipairs(redis.call('LPOS', part, ARGV[i + 2], 'RANK', from_head and 1 or -1, 'COUNT', 0, 'MAXLEN', some)) do
    if at > before and at <= place and (not found or at < found) then
      found = at
    end
  end
  return found
end
local there, order, picks, gone = {}, {}, {}, 0
for i = 4, #ARGV, 5 do
  local before = order[#order] or -1
  local place = ARGV[i] - gone
  if (place <= before or not is_at(i, place)) and left > 0 then
    place = search(i, before)
  end
  local found = place and place > before and is_at(i, place)
  there[#there + 1] = found and 1 or 0
  if found then
    order[#order + 1], picks[#picks + 1], gone = place, i, ARGV[i] - place
  end
end
if ARGV[1] == 'look' or #order == 0 then
  return there
end
-- Out of memory, Redis lets a script write that has written already: this changes nothing, and always may.
redis.call('LTRIM', part, 0, -1)
for _, i in ipairs(picks) do
  if tonumber(ARGV[i + 3]) > 0 then
    redis.call('RPUSH', KEYS[2 + ARGV[i + 3]], ARGV[i + 4])
  end
end
if border > 0 then
  local last = len - 1
  for k = #order, 1, -1 do
    for _ = order[k] + 1, last do
      redis.call('LMOVE', KEYS[2], KEYS[1], 'RIGHT', 'LEFT')
    end
    redis.call('RPOP', KEYS[2])
    last = order[k] - 1
  end
  return there
end
-- Marked by their places, they are removed in one go from whichever end is nearer: to remove each would search for each.
for _, place in ipairs(order) do
  redis.call('LSET', part, place, ARGV[3])
end
redis.call('LREM', part, order[1] < len / 2 and #order or -#order, ARGV[3])
return there
