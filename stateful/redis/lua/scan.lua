-- Some entries in order.
-- KEYS: the task's hash; its index.
-- ARGV: the bounds as ZRANGE takes them; the most entries.
-- Returns the head; whether hash and index have as many entries; fields; their values.
local head = redis.call('HGET', KEYS[1], '\0h')
local sound = redis.call('HLEN', KEYS[1]) == redis.call('ZCARD', KEYS[2]) + 1
local fields = redis.call('ZRANGE', KEYS[2], ARGV[1], ARGV[2], 'BYLEX', 'LIMIT', 0, ARGV[3])
local values = {}
if #fields > 0 then
  values = redis.call('HMGET', KEYS[1], unpack(fields))
end
return {head, sound and 1 or 0, fields, values}
