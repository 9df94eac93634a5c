-- Reads a page of a queue's outbox: the entries of a host, and those that hosts without a lease have left. Moves nothing.
-- keys: outbox, leases
-- args: cursor (0 for the first page), about how many entries at most, how many bytes at most; what an entry's name begins
--   with before the host that made it, and the host that asks ('': whoever, for all entries)
-- returns: the cursor of the next page, 0 if this is the last; then name and value of each entry. The first value is there
--   whatever its length; one that does not fit is nil
local cursor, most, room = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now, lives = time[1] * 1000 + math.floor(time[2] / 1000), {}
-- Whether another host looks after an entry.
local function is_anothers(name)
  if ARGV[5] == '' then
    return false
  end
  local start = ARGV[4]
  local host = string.sub(name, 1, #start) == start and string.match(string.sub(name, #start + 1), '^(.*):%d+$')
  if not host or host == ARGV[5] then
    return false
  end
  if lives[host] == nil then
    local ends = redis.call('ZSCORE', KEYS[2], host)
    lives[host] = ends and tonumber(ends) > now or false
  end
  return lives[host]
end
local entries = {}
-- An HSCAN copies all that it finds, so each is to find little. One step returns the entries of one slot of the hash table,
-- or passes over ten empty ones.
for _ = 1, most do
  local step, size, found = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', 1), 0, {}
  for i = 1, #step[2], 2 do
    if not is_anothers(step[2][i]) then
      found[#found + 1] = step[2][i]
      found[#found + 1] = step[2][i + 1]
      size = size + #step[2][i] + #step[2][i + 1]
    end
  end
  if #entries > 0 and size > room then
    -- The next page begins with this step.
    break
  end
  for i = 1, #found, 2 do
    local name, value = found[i], found[i + 1]
    local fits = #entries == 0 or #name + #value <= room
    room = room - #name - (fits and #value or 0)
    entries[#entries + 1] = name
    entries[#entries + 1] = fits and value
  end
  cursor = step[1]
  if cursor == '0' or #entries >= 2 * most then
    break
  end
end
return {cursor, entries}
