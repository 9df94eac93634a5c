-- Reads up to `count` entries of the failed list, its older part first: those from a place on, or those before a place.
-- Beyond the nearest entry it reads only as many as come to `bytes` together. Of an entry that is longer than Kiln writes
-- any, only the beginning is returned. Moves nothing.
-- keys: failed, its older part   args: from or before, the place, count, bytes, bytes of the longest entry returned whole
-- returns: the place of the first entry; the entries in their order, each as its bytes or {first bytes, length}
local count, bytes, longest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local older = redis.call('LLEN', KEYS[2])
local len = older + redis.call('LLEN', KEYS[1])
local start, up = math.min(tonumber(ARGV[2]), len), ARGV[1] == 'from'
-- Up to so many from a place on.
local function read(place, some)
  if some == 0 then
    return {}
  elseif place < older then
    return redis.call('LRANGE', KEYS[2], place, math.min(place + some, older) - 1)
  end
  return redis.call('LRANGE', KEYS[1], place - older, place - older + some - 1)
end
-- Up to so many of those that were not read yet, the nearest first.
local function read_on(done, some)
  if up then
    return read(start + done, some)
  end
  local stop = start - done
  local first = math.max(0, stop - some, stop > older and older or 0)
  local entries, turned = read(first, stop - first), {}
  for i = 1, #entries do
    turned[i] = entries[#entries + 1 - i]
  end
  return turned
end
local entries, size, largest, full = {}, 0, 1, false
while #entries < count and not full do
  -- As many at once as there are so far: their lengths are not known before. Redis seeks the place anew for each call, which
  -- takes as long as reading a few dozen.
  local some = math.max(1, math.min(count - #entries, math.floor((bytes - size) / largest), #entries, 64))
  local some_read = read_on(#entries, some)
  full = #some_read == 0
  for _, entry in ipairs(some_read) do
    size, largest = size + #entry, math.max(largest, #entry)
    if #entries > 0 and size > bytes then
      full = true
      break
    end
    entries[#entries + 1] = #entry > longest and {string.sub(entry, 1, bytes), #entry} or entry
  end
end
if up then
  return {start, entries}
end
local turned = {}
for i = 1, #entries do
  turned[i] = entries[#entries + 1 - i]
end
return {start - #entries, turned}
