-- Answers whoever waits for a job. The last answers stay: who asks what a job came to is told the last.
-- keys: the job's answers   args: the answer, most answers, how long they are kept in ms
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('LTRIM', KEYS[1], -tonumber(ARGV[2]), -1)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
