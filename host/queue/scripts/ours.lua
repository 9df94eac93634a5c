-- Looks which deliveries are still the host's. Moves nothing.
-- keys: in-flight of the host   args: tags
-- returns: those of the tags that are
local ours = {}
for _, tag in ipairs(ARGV) do
  if redis.call('HEXISTS', KEYS[1], tag) == 1 then
    ours[#ours + 1] = tag
  end
end
return ours
