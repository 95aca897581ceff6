-- Adds fields to a task's index.
-- KEYS: the task's hash; its index.
-- ARGV: the head that must be there; 1 to begin anew; the fields, each with its score, at most 3,000.
-- Returns 1, or the head that is there instead; nothing when there is none.
local head = redis.call('HGET', KEYS[1], '\0h')
if head ~= ARGV[1] then
  return head
end
if ARGV[2] == '1' then
  redis.call('UNLINK', KEYS[2])
end
if #ARGV > 2 then
  redis.call('ZADD', KEYS[2], unpack(ARGV, 3))
end
return 1
