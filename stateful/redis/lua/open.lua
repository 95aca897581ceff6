-- A new owner of a task.
-- KEYS: the task's hash; its index; its lease.
-- ARGV: the head that must be there, empty for none; the head that will be; who must have
-- the lease, empty when it does not matter; 1 when the index is to be dropped.
-- Returns 1; 0 when another has the lease; or the head that is there instead, empty for none.
local head = redis.call('HGET', KEYS[1], '\0h') or ''
if ARGV[3] ~= '' and redis.call('HGET', KEYS[3], 'holder') ~= ARGV[3] then
  return 0
end
if head ~= ARGV[1] then
  return head
end
redis.call('HSET', KEYS[1], '\0h', ARGV[2])
if ARGV[4] == '1' then
  redis.call('UNLINK', KEYS[2])
end
return 1
