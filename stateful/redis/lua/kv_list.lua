-- Some keys of the key-value API in order. Those whose entries expired leave the index.
-- KEYS: the index.
-- ARGV: the bounds as ZRANGE takes them; the most keys.
-- Returns the last key that was looked at, nothing when there is none; the keys that are there.
local keys = redis.call('ZRANGE', KEYS[1], ARGV[1], ARGV[2], 'BYLEX', 'LIMIT', 0, ARGV[3])
local there = {}
for _, key in ipairs(keys) do
  if redis.call('EXISTS', key) == 1 then
    there[#there + 1] = key
  else
    redis.call('ZREM', KEYS[1], key)
  end
end
return {keys[#keys], there}
