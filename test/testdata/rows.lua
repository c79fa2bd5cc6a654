-- Fills a running instance with rows of all types through net.box. Arguments: address, password of admin.
local net_box = require('net.box')
local digest = require('digest')
local ffi = require('ffi')
local c = net_box.connect(arg[1], {user = 'admin', password = arg[2], wait_connected = 10})
if c.state ~= 'active' then error(tostring(c.error)) end

local map = setmetatable({}, {__serialize = 'map'})
local function space(id, name, format, field_count)
    c.space._space:insert({id, 1, name, 'memtx', field_count or 0, map, format})
end
local function index(space_id, id, name, kind, unique, parts)
    c.space._index:insert({space_id, id, name, kind, {unique = unique}, parts})
end

space(600, 'all_types', {
    {name = 'id', type = 'unsigned'}, {name = 'int', type = 'integer', is_nullable = true},
    {name = 'num', type = 'number', is_nullable = true}, {name = 'dbl', type = 'double', is_nullable = true},
    {name = 'str', type = 'string', is_nullable = true}, {name = 'bin', type = 'varbinary', is_nullable = true},
    {name = 'bool', type = 'boolean', is_nullable = true}, {name = 'sc', type = 'scalar', is_nullable = true},
    {name = 'arr', type = 'array', is_nullable = true}, {name = 'map', type = 'map', is_nullable = true},
    {name = 'any', type = 'any', is_nullable = true}})
index(600, 0, 'pk', 'tree', true, {{0, 'unsigned'}})
index(600, 1, 'str', 'tree', false, {{field = 4, type = 'string', is_nullable = true}, {field = 1, type = 'integer', is_nullable = true}})
index(600, 2, 'sc', 'tree', false, {{field = 7, type = 'scalar', is_nullable = true}})
space(601, 'hashed', {}, 2)
index(601, 0, 'pk', 'hash', true, {{0, 'string'}})
space(602, 'multi', {{name = 'a', type = 'unsigned'}, {name = 'b', type = 'string'}})
index(602, 0, 'pk', 'tree', true, {{1, 'string'}, {0, 'unsigned'}})
space(603, 'empty', {{name = 'a', type = 'scalar'}})
index(603, 0, 'pk', 'tree', true, {{0, 'scalar'}})
c:reload_schema()

local double = function(x) return ffi.cast('double', x) end
local s = c.space.all_types
s:insert({1, -5, 5, double(1.25), 'text', nil, true, 'scalar', {1, {2, 3}}, {a = 1, b = {c = 'd'}}, 'any'})
s:insert({2, 9223372036854775807LL, 18446744073709551615ULL, double(-1e300), '', nil, false, 7, {}, map, {1, 2}})
s:insert({3, -9223372036854775807LL - 1, -1.5, double(0), ('long '):rep(2000), nil, true, true, {'x'}, {k = box.NULL}, box.NULL})
s:insert({4})
s:insert({18446744073709551615ULL, 1, 2, double(3), 'last', nil, false, -1.5, {1}, {k = 'v'}, {z = 1}, 'more', 'than', 'the format'})
for i = 10, 3009 do s:insert({i, i % 7 - 3, i / 2, double(i), 'row ' .. i % 100, nil, i % 2 == 0, i, {i}, {i = i}, 'x'}, {is_async = true}) end
for i = 1, 1000 do c.space.hashed:replace({'key ' .. i, i}, {is_async = true}) end
for i = 1, 1000 do c.space.multi:replace({i % 10, 'part ' .. i, i}, {is_async = true}) end
c:ping()

local function auth(pass) return {['chap-sha1'] = digest.base64_encode(digest.sha1(digest.sha1(pass)), {nowrap = true})} end
c.space._user:insert({40, 1, 'alice', 'user', auth('secret')})
c.space._user:insert({41, 1, 'readers', 'role', map})
c.space._priv:insert({1, 40, 'universe', 0, 24})
c.space._priv:insert({1, 40, 'role', 2, 4})
c.space._priv:insert({1, 41, 'space', 600, 1})
c.space._priv:insert({1, 40, 'role', 41, 4})
print('ok')
os.exit(0)
