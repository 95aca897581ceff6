-- One commit, whole or not at all.
-- KEYS: the task's hash; its index, when the keys are kept in order.
-- ARGV: the head that must be there; the head that will be; how many fields are set;
-- these, each with its value; the fields that are deleted.
-- Returns 1, or the head that is there instead; nothing when there is none.
local hash, index = KEYS[1], KEYS[2]
local head = redis.call('HGET', hash, '\0h')
if head ~= ARGV[1] then
  return head
end
local chunk = 3000 -- what unpack can take is bounded
redis.call('HSET', hash, '\0h', ARGV[2])

local first_deleted = 4 + 2 * tonumber(ARGV[3])
for from = 4, first_deleted - 1, 2 * chunk do
  local to = math.min(from + 2 * chunk, first_deleted) - 1
  local added = redis.call('HSET', hash, unpack(ARGV, from, to))
  if index and added > 0 then
    local members = {}
    for i = from, to, 2 do
      members[#members + 1] = 0
      members[#members + 1] = ARGV[i]
    end
    redis.call('ZADD', index, unpack(members))
  end
end

for from = first_deleted, #ARGV, chunk do
  local to = math.min(from + chunk - 1, #ARGV)
  local removed = redis.call('HDEL', hash, unpack(ARGV, from, to))
  if index and removed > 0 then
    redis.call('ZREM', index, unpack(ARGV, from, to))
  end
end
return 1
