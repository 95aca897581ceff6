-- Takes the lease of a task.
-- KEYS: the lease.
-- ARGV: who asks; for how many milliseconds.
-- Returns whether it was given, and the token of whoever has it now.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('HMGET', KEYS[1], 'holder', 'until', 'token')
if lease[1] and lease[1] ~= ARGV[1] and now < tonumber(lease[2]) then
  return {0, lease[3]}
end
local token = lease[3]
if lease[1] ~= ARGV[1] then -- else the answer to it was lost
  token = redis.call('HINCRBY', KEYS[1], 'token', 1)
end
redis.call('HSET', KEYS[1], 'holder', ARGV[1], 'until', now + tonumber(ARGV[2]))
return {1, token}
