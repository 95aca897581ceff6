-- Adds to a counter of the key-value API.
-- KEYS: the counter; the index, when keys are kept in order.
-- ARGV: what is added; for how many milliseconds a new counter lives, 0 for ever.
-- Returns the counter, as text: Lua's numbers have 53 bits.
local made = redis.call('EXISTS', KEYS[1]) == 0
redis.call('INCRBY', KEYS[1], ARGV[1])
if made then
  if ARGV[2] ~= '0' then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
  end
  if KEYS[2] then
    redis.call('ZADD', KEYS[2], 0, KEYS[1])
  end
end
return redis.call('GET', KEYS[1])
