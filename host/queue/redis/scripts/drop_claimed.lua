-- delayed, claimed → gone: the last step of a promotion to another slot, after the jobs were added to ready. A job that a
-- producer has delayed anew in between has another score, and stays.
-- keys: delayed   args: the score that marks the jobs as claimed, the jobs
for i = 2, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score and tonumber(score) == tonumber(ARGV[1]) then
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
