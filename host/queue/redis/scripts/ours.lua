-- Lists which deliveries the host still holds: the first step of a settlement to another slot. Moves nothing. A host whose
-- lease has run out is told so first: else it would write to the other slot while another host takes the job over.
-- keys: in-flight of the host, leases   args: host, tags
-- returns: the tags that the host holds; nil if the lease has run out
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
