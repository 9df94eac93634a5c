-- nothing → ready. Adds the jobs of schedules whose instants have come by Redis' own clock, each instant once, whoever asks
-- and however often. A schedule that is not known yet is: its instants count from now on.
-- keys: ready, schedules, the jobs of schedules that have not ended
-- args: most schedules; how many ms ahead of the clock a last instant is not believed; for how many ms a job that has not ended
--   is; then for each schedule its name, by how many ms it fires after its instants, 1 if an instant passes without a job while
--   an earlier one's has not ended, and how many instants follow; for each of these, in their order, its Unix time
--   in ms, what the wall clock shows at it ('': nothing that could be compared), and the job ('': none, the instant passes)
-- returns: the time in ms; then for each schedule its last instant in ms ('': not known, since there are too many), how
--   many jobs were added, and how many were not since an earlier one has not ended
redis.call('LLEN', KEYS[1]) -- A key of the wrong type fails here, before anything has moved.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {string.format('%.0f', now)}
local i = 4
while i <= #ARGV do
  local name, shift, skips, instants = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2] == '1', tonumber(ARGV[i + 3])
  local stored = redis.call('HGET', KEYS[2], name)
  local last, label = string.match(stored or '', '^(%d+) ?(.*)$')
  local known, added, skipped = last, 0, 0
  if last and tonumber(last) > now + tonumber(ARGV[2]) then
    -- The clock was set back, or that of a new master is behind.
    last = nil
  end
  if not last and (known or redis.call('HLEN', KEYS[2]) < tonumber(ARGV[1])) then
    last, label = string.format('%.0f', math.max(0, now - shift)), ''
    redis.call('HSET', KEYS[2], name, last)
  elseif last then
    for at = i + 4, i + 1 + 3 * instants, 3 do
      local instant, shown, job = ARGV[at], ARGV[at + 1], ARGV[at + 2]
      if tonumber(instant) + shift > now then
        break
      end
      if tonumber(instant) > tonumber(last) then
        if job ~= '' and (shown == '' or shown ~= label) then
          local unended = skips and redis.call('HGET', KEYS[3], name)
          if unended and tonumber(unended) + tonumber(ARGV[3]) > now then
            skipped = skipped + 1
          else
            redis.call('RPUSH', KEYS[1], job)
            added = added + 1
            if skips then
              redis.call('HSET', KEYS[3], name, instant)
            end
          end
        end
        last, label = instant, shown
        redis.call('HSET', KEYS[2], name, last .. ' ' .. label)
      end
    end
  end
  answer[#answer + 1] = last or ''
  answer[#answer + 1] = added
  answer[#answer + 1] = skipped
  i = i + 4 + 3 * instants
end
return answer
