-- Reads entries of the failed list: up to `count`, and beyond the first only as many as come to `bytes` together. One that
-- is longer than Kiln writes any is told of in part. Moves nothing.
-- keys: failed   args: place of the first, count, bytes, the longest that is told of whole
-- returns: the entries, each its bytes or {first bytes, length}
local start, count, bytes, longest = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local entries, size, largest = {}, 0, 1
while #entries < count do
  -- A few at a time, as in fetch.lua.
  local some = math.max(1, math.min(count - #entries, math.floor((bytes - size) / largest), #entries, 16))
  local read = redis.call('LRANGE', KEYS[1], start + #entries, start + #entries + some - 1)
  for _, entry in ipairs(read) do
    size, largest = size + #entry, math.max(largest, #entry)
    if #entries > 0 and size > bytes then
      return entries
    end
    entries[#entries + 1] = #entry > longest and {string.sub(entry, 1, bytes), #entry} or entry
  end
  if #read < some then
    break
  end
end
return entries
