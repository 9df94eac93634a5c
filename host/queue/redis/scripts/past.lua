-- What a queue knows of a job that need not be in it any more. Moves nothing.
-- keys: histories, when the marks of cancelled jobs end   args: the job's id
-- returns: a line for each attempt that is kept; 1 if the job is cancelled, else 0
local time = redis.call('TIME')
local ends = redis.call('ZSCORE', KEYS[2], ARGV[1])
local cancelled = ends and tonumber(ends) > time[1] * 1000 + math.floor(time[2] / 1000)
return {redis.call('HGET', KEYS[1], ARGV[1]) or '', cancelled and 1 or 0}
