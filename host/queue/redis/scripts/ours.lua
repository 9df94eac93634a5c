-- Looks which deliveries are still the host's: the first step of a settlement to another slot. Moves nothing. A host
-- whose lease has run out has to hear of it first, or it would write while another takes over what it writes.
-- keys: in-flight of the host, leases   args: host, tags
-- returns: those of the tags that are; nil if the lease has run out
local time = redis.call('TIME')
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
if not lease or tonumber(lease) <= time[1] * 1000 + math.floor(time[2] / 1000) then
  return false
end
local ours = {}
for i = 2, #ARGV do
  if redis.call('HEXISTS', KEYS[1], ARGV[i]) == 1 then
    ours[#ours + 1] = ARGV[i]
  end
end
return ours
