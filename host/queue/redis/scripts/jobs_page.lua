-- Reads jobs of a queue where they lie, the last first, a page at a time. Beyond the first job it reads only as many as come
-- to `bytes` together. Of a long job only the beginning is returned. Moves nothing.
-- keys: a list, a delayed set, or the in-flight table of a host
-- args: list, set or table; where the page before ended, or '' for the first; count; bytes; bytes of the longest job that is
--   returned whole
-- returns: where this page ended, or '' if nothing is left; the jobs, each as its bytes or {first bytes, length}; of a set,
--   when each of them is due, in Unix seconds
local kind, from = ARGV[1], ARGV[2]
local count, bytes, longest = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local jobs, due, size, largest, full = {}, {}, 0, 1, false
-- Each reads up to so many jobs that were not read yet, and of a set their scores behind each of them.
local function read_list(some, place)
  local stop = place - #jobs
  local first = math.max(0, stop - some)
  local turned, read = {}, stop > 0 and redis.call('LRANGE', KEYS[1], first, stop - 1) or {}
  for i = 1, #read do
    turned[i] = {read[#read + 1 - i]}
  end
  return turned
end
local function read_set(some, score, skip)
  local from_last = {'BYSCORE', 'REV', 'LIMIT', skip + #jobs, some, 'WITHSCORES'}
  local found, answer = {}, redis.call('ZRANGE', KEYS[1], score, '-inf', unpack(from_last))
  for i = 1, #answer, 2 do
    found[#found + 1] = {answer[i], answer[i + 1]}
  end
  return found
end
local read, ended
if kind == 'list' then
  local place = math.min(tonumber(from) or 2 ^ 53, redis.call('LLEN', KEYS[1]))
  read = function(some) return read_list(some, place) end
  ended = function() return place > #jobs and string.format('%.0f', place - #jobs) or '' end
elseif kind == 'set' then
  local score, skip = string.match(from, '^(.+)/(%d+)$')
  score, skip = score or '+inf', tonumber(skip or 0)
  read = function(some) return read_set(some, score, skip) end
  -- Many may be due at one time: so it also counts how many of the last time were read.
  ended = function()
    local last, same = due[#due], 0
    for i = #due, 1, -1 do
      if due[i] ~= last then
        break
      end
      same = same + 1
    end
    return full and last .. '/' .. (last == score and skip + same or same) or ''
  end
else
  local tags, after = {}, tonumber(from) or -1
  for _, tag in ipairs(redis.call('HKEYS', KEYS[1])) do
    if tonumber(tag) > after then
      tags[#tags + 1] = tag
    end
  end
  table.sort(tags, function(a, b) return tonumber(a) < tonumber(b) end)
  read = function(some)
    local found = {}
    for i = #jobs + 1, math.min(#jobs + some, #tags) do
      found[#found + 1] = {redis.call('HGET', KEYS[1], tags[i])}
    end
    return found
  end
  ended = function() return #jobs < #tags and tags[#jobs] or '' end
end
while not full do
  -- A few at a time, as in fetch.lua.
  local some = math.max(1, math.min(count - #jobs, math.floor((bytes - size) / largest), #jobs, 16))
  local found = read(some)
  if #found == 0 then
    break
  end
  for _, it in ipairs(found) do
    local job = it[1]
    size, largest = size + #job, math.max(largest, #job)
    if #jobs > 0 and size > bytes or #jobs == count then
      full = true
      break
    end
    jobs[#jobs + 1] = #job > longest and {string.sub(job, 1, longest), #job} or job
    due[#due + 1] = it[2]
  end
end
return {ended(), jobs, due}
