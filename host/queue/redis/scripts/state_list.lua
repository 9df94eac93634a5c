-- Keys of a bucket, in the order of their bytes.
-- keys: names, expiry   args: what they begin with, after which one (or ''), how many at most
-- returns: the keys
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local from, most = '[' .. ARGV[1], tonumber(ARGV[3])
if ARGV[2] ~= '' and ARGV[2] >= ARGV[1] then
  from = '(' .. ARGV[2]
end
local found = {}
while #found < most do
  -- No key is anything but UTF-8, where this byte does not occur.
  local some = redis.call('ZRANGEBYLEX', KEYS[1], from, '(' .. ARGV[1] .. '\255', 'LIMIT', 0, most)
  for _, key in ipairs(some) do
    local ends = redis.call('ZSCORE', KEYS[2], key)
    if #found < most and not (ends and tonumber(ends) <= now) then
      found[#found + 1] = key
    end
  end
  if #some < most then
    break
  end
  from = '(' .. some[#some]
end
return found
