-- Reads the values of some keys of a bucket.
-- keys: values, versions, expiry   args: most bytes that the values may have together, then the keys
-- returns: for each key its value and its version, or nil twice; nil in place of all if the values have more bytes
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local bytes = 0
for i = 2, #ARGV do
  bytes = bytes + redis.call('HSTRLEN', KEYS[1], ARGV[i])
end
if bytes > tonumber(ARGV[1]) then
  return false
end
local found = {}
for i = 2, #ARGV do
  local ends = redis.call('ZSCORE', KEYS[3], ARGV[i])
  local gone = ends and tonumber(ends) <= now
  found[#found + 1] = not gone and redis.call('HGET', KEYS[1], ARGV[i])
  found[#found + 1] = not gone and redis.call('HGET', KEYS[2], ARGV[i])
end
return found
