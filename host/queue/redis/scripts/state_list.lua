-- Lists keys of a bucket in the order of their bytes. It examines a bounded number of keys, however many have expired and
-- are not yet removed.
-- keys: names, expiry   args: prefix of the keys, the key after which to begin or '', most keys to return, most to examine
-- returns: the last key that was examined, or '' if there are no more; then the keys found
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
