# Sidekiq: `ruby jobs.rb N` pushes N jobs that do nothing, `sidekiq -r ./jobs.rb -c THREADS` runs them.
#
# Fair, because jobs are pushed in bulk, no line is logged for each, Redis is spoken to through the C driver where this
# version can have it, and `run` turns on YJIT where Ruby has it. Of 5, 10 and 25 threads, 10 took the least processor
# time a job. Sidekiq's own fetch keeps no record of what a process holds: cheaper, and a killed one loses its jobs.

require "sidekiq"

class Nothing
  include Sidekiq::Worker

  def perform(_payload)
  end
end

redis = {url: ENV.fetch("REDIS_URL")}
if Sidekiq::VERSION.to_i < 7
  redis[:driver] = :hiredis
  Redis.silence_deprecations = true # else Debian's versions warn about each other once for each job
end
Sidekiq.configure_client { |config| config.redis = redis }
Sidekiq.configure_server do |config|
  config.redis = redis
  config.logger.level = Logger::WARN
end

if $PROGRAM_NAME == __FILE__
  payload = {"to" => "x" * 391} # 400 bytes of JSON
  Array.new(Integer(ARGV[0])) { [payload] }.each_slice(1000) do |args|
    Sidekiq::Client.push_bulk("class" => Nothing, "args" => args)
  end
end
