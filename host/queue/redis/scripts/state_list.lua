-- Keys of a bucket, in the order of their bytes. It looks at no more than some, so that it takes no longer however many have
-- ended and are not yet removed.
-- keys: names, expiry   args: what they begin with, after which one (or ''), how many at most, at how many it looks
-- returns: the last that it looked at, or '' if there are no more; then the keys
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local from, most, looks = '[' .. ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
if ARGV[2] ~= '' and ARGV[2] >= ARGV[1] then
  from = '(' .. ARGV[2]
end
-- No key is anything but UTF-8, where this byte does not occur.
local some = redis.call('ZRANGEBYLEX', KEYS[1], from, '(' .. ARGV[1] .. '\255', 'LIMIT', 0, looks)
local found = {#some == looks and some[#some] or ''}
for _, key in ipairs(some) do
  local ends = redis.call('ZSCORE', KEYS[2], key)
  if not (ends and tonumber(ends) <= now) then
    found[#found + 1] = key
    if #found > most then
      found[1] = key
      break
    end
  end
end
return found
