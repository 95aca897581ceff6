-- Renews the lease of a task.
-- KEYS: the lease.
-- ARGV: who has it; for how many milliseconds, 0 to release it.
-- Returns whether it was renewed.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('HMGET', KEYS[1], 'holder', 'until')
if lease[1] ~= ARGV[1] or now >= tonumber(lease[2]) then
  return 0
end
redis.call('HSET', KEYS[1], 'until', now + tonumber(ARGV[2]))
return 1
