-- Changes an entry of the key-value API if its value is the one that is expected.
-- KEYS: the entry; the index, when keys are kept in order.
-- ARGV: 1 when a value is expected, and it, or 0 for none; 1 when there will be one, and it, or 0;
-- for how many milliseconds, 0 for ever.
-- Returns whether it was changed.
local value = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then
  if value ~= ARGV[2] then
    return 0
  end
elseif value then
  return 0
end
if ARGV[3] == '0' then
  redis.call('UNLINK', KEYS[1])
  if KEYS[2] then
    redis.call('ZREM', KEYS[2], KEYS[1])
  end
  return 1
end
if ARGV[5] == '0' then
  redis.call('SET', KEYS[1], ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
end
if KEYS[2] then
  redis.call('ZADD', KEYS[2], 0, KEYS[1])
end
return 1
