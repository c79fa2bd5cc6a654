-- An unmodified net.box client: schema, rows, errors, users and grants. Arguments: address, password of admin, and
-- "tarantool" if that is what listens there: it passes the same checks.
-- Prints "ok" and exits with 0, or tells what went wrong and exits with 1.
local net_box = require('net.box')
local json = require('json')
local digest = require('digest')

local address, password, ours = arg[1], arg[2], arg[3] ~= 'tarantool'
local checks, failures = 0, 0

local function fail(what, got, want)
    failures = failures + 1
    io.stderr:write(('line %d: %s: got %s, want %s\n'):format(debug.getinfo(3, 'l').currentline, what, json.encode(got), json.encode(want)))
end

local function plain(value)
    if type(value) == 'cdata' and box.tuple.is(value) then return value:totable() end
    if type(value) == 'table' then
        local out = {}
        for k, v in pairs(value) do out[k] = plain(v) end
        return out
    end
    return value
end

local function same(what, got, want)
    checks = checks + 1
    local a, b = json.encode(plain(got)), json.encode(plain(want))
    if a ~= b then fail(what, plain(got), want) end
end

local function refused(what, code, message, f, ...)
    checks = checks + 1
    local ok, err = pcall(f, ...)
    if ok then return fail(what .. ' was not refused', plain(err), message) end
    if type(err) == 'string' then return fail(what, err, message) end
    if err.code ~= code or not tostring(err.message):find(message, 1, true) then
        fail(what, {err.code, err.message}, {code, message})
    end
end

local function connect(user, pass)
    local c = net_box.connect(address, {user = user, password = pass, wait_connected = 10})
    if c.state ~= 'active' then fail('connect as ' .. tostring(user), {c.state, tostring(c.error)}, 'active') end
    return c
end

local map = setmetatable({}, {__serialize = 'map'})
local none = setmetatable({}, {__serialize = 'seq'})

-- login
local c = connect('admin', password)
same('ping', c:ping(), true)
local bad = net_box.connect(address, {user = 'admin', password = 'wrong', wait_connected = 10})
same('wrong password', bad.state ~= 'active', true)
bad:close()

-- schema
c.space._space:insert({600, 1, 'bands', 'memtx', 0, map, {
    {name = 'id', type = 'unsigned'}, {name = 'name', type = 'string'},
    {name = 'year', type = 'integer', is_nullable = true}}})
c.space._index:insert({600, 0, 'pk', 'tree', {unique = true}, {{0, 'unsigned'}}})
c.space._index:insert({600, 1, 'name', 'tree', {unique = false}, {{1, 'string'}}})
c.space._space:insert({601, 1, 'kv', 'memtx', 2, map, none})
c.space._index:insert({601, 0, 'pk', 'hash', {unique = true}, {{0, 'string'}}})
c:reload_schema()
same('space id', c.space.bands.id, 600)
same('index id', c.space.bands.index.name.id, 1)
same('parts', c.space.bands.index.pk.parts[1].type, 'unsigned')
same('format', c.space.bands:format() == nil, false)
refused('second space of the name', 3, "Duplicate key exists in unique index 'name' in space '_space'", c.space._space.insert, c.space._space,
    {602, 1, 'bands', 'memtx', 0, map, none})
refused('second index of the name', 3, "Duplicate key exists in unique index 'name' in space '_index'", c.space._index.insert, c.space._index,
    {600, 2, 'name', 'tree', {unique = false}, {{1, 'string'}}})

-- rows
local s = c.space.bands
same('insert', s:insert({1, 'Roxette', 1986}), {1, 'Roxette', 1986})
same('insert', s:insert({2, 'Scorpions', 1965}), {2, 'Scorpions', 1965})
same('insert', s:insert({3, 'Ace of Base', 1987}), {3, 'Ace of Base', 1987})
same('replace', s:replace({3, 'Ace of Base', 1990}), {3, 'Ace of Base', 1990})
same('null', s:insert({4, 'No year', box.NULL}), {4, 'No year', box.NULL})
same('short row', s:insert({5, 'Short'}), {5, 'Short'})
same('more fields than the format', s:replace({6, 'More', 1, {a = {1, 2}}, true, 1.5}), {6, 'More', 1, {a = {1, 2}}, true, 1.5})
same('update', s:update(1, {{'=', 2, 'Roxette!'}, {'+', 3, 1}}), {1, 'Roxette!', 1987})
same('update by name', s:update({1}, {{'=', 'name', 'Roxette'}, {'-', 'year', 1}}), {1, 'Roxette', 1986})
same('update of nothing', s:update(99, {{'=', 2, 'x'}}), nil)
same('splice', s:update(2, {{':', 2, 1, 1, 's'}}), {2, 'scorpions', 1965})
same('upsert inserts', s:upsert({7, 'Seven', 7}, {{'+', 3, 1}}), nil)
same('upsert changes', s:upsert({7, 'Seven', 7}, {{'+', 3, 1}}), nil)
same('get', s:get(7), {7, 'Seven', 8})
same('get nothing', s:get(77), nil)
same('delete', s:delete(7), {7, 'Seven', 8})
same('delete nothing', s:delete(7), nil)
same('first fields', s:select({}, {limit = 2}), {{1, 'Roxette', 1986}, {2, 'scorpions', 1965}})
same('EQ', s:select(2), {{2, 'scorpions', 1965}})
same('GE', s:select(5, {iterator = 'GE'}), {{5, 'Short'}, {6, 'More', 1, {a = {1, 2}}, true, 1.5}})
same('GT', s:select(5, {iterator = 'GT', limit = 1}), {{6, 'More', 1, {a = {1, 2}}, true, 1.5}})
same('LE', s:select(2, {iterator = 'LE'}), {{2, 'scorpions', 1965}, {1, 'Roxette', 1986}})
same('LT', s:select(2, {iterator = 'LT'}), {{1, 'Roxette', 1986}})
same('REQ', s:select(3, {iterator = 'REQ'}), {{3, 'Ace of Base', 1990}})
same('ALL with offset', s:select({}, {iterator = 'ALL', offset = 4, limit = 1}), {{5, 'Short'}})
same('secondary', s.index.name:select('Roxette'), {{1, 'Roxette', 1986}})
same('secondary from', s.index.name:select('R', {iterator = 'GE', limit = 2}), {{1, 'Roxette', 1986}, {5, 'Short'}})
same('min', s.index.name:min(), {3, 'Ace of Base', 1990})
same('max', s.index.name:max(), {2, 'scorpions', 1965})
same('count', #s.index.name:select({}, {iterator = 'ALL'}), 6)
local kv = c.space.kv
same('hash', kv:replace({'k', 1}), {'k', 1})
same('hash', kv:replace({'k', 2}), {'k', 2})
same('hash get', kv:get('k'), {'k', 2})
same('many at once', (function()
    local futures = {}
    for i = 1, 500 do futures[i] = kv:insert({'f' .. i, i}, {is_async = true}) end
    local sum = 0
    for i = 1, 500 do sum = sum + futures[i]:wait_result(10)[2] end
    return sum
end)(), 125250)

-- refusals
refused('duplicate', 3, "Duplicate key exists in unique index 'pk' in space 'bands'", s.insert, s, {1, 'x'})
refused('type', 23, 'Tuple field 1 type does not match one required by operation: expected unsigned', s.insert, s, {'a', 'x'})
refused('type by format', 23, 'Tuple field 3 type does not match one required by operation: expected integer', s.insert, s, {9, 'x', 'y'})
refused('missing field', 39, 'Tuple field 2 required by space format is missing', s.insert, s, {9})
refused('too many fields', 38, 'Tuple field count 3 does not match space field count 2', kv.insert, kv, {'a', 1, 2})
refused('key type', 18, 'Supplied key type of part 0 does not match index part type: expected unsigned', s.get, s, 'a')
refused('change of the primary key', 94, "Attempt to modify a tuple field which is part of index 'pk' in space 'bands'",
    s.update, s, 1, {{'=', 1, 10}})
refused('no such field', 37, 'Field 20 was not found in the tuple', s.update, s, 1, {{'+', 20, 1}})
refused('type of an argument', 26, "Argument type in operation '+' on field 2 does not match field type: expected a number",
    s.update, s, 1, {{'+', 2, 1}})
refused('no procedure', 33, "Procedure 'nothing' is not defined", c.call, c, 'nothing')
same('call', type(c:call('box.info')), 'table')
if ours then same('call of ours', c:call('.proc_instance_info').state, 'RolesConfigured') end

-- change of the schema with rows in place
refused('unique index over equal values', 3, 'Duplicate key', function()
    s:insert({20, 'same'})
    s:insert({21, 'same'})
    c.space._index:insert({600, 3, 'uniq', 'tree', {unique = true}, {{1, 'string'}}})
end)
refused('narrower format', 23, 'Tuple field 3 type', function()
    s:insert({22, 'negative', -1})
    c.space._space:update(600, {{'=', 7, {{name = 'id', type = 'unsigned'}, {name = 'name', type = 'string'},
        {name = 'year', type = 'unsigned', is_nullable = true}}}})
end)
c.space._index:insert({600, 4, 'year', 'tree', {unique = false}, {{field = 2, type = 'integer', is_nullable = true}}})
c:reload_schema()
s = c.space.bands
same('index over rows that were there', s.index.year:select(1990), {{3, 'Ace of Base', 1990}})
same('null key', #s.index.year:select({box.NULL}), 4)
c.space._index:delete({600, 4})
c:reload_schema()
same('index is gone', c.space.bands.index.year == nil, true)
refused('drop of a space with indexes', 11, "Can't drop space 'kv': the space has indexes", c.space._space.delete, c.space._space, 601)
c.space._index:delete({601, 0})
c.space._space:delete(601)
c:reload_schema()
same('space is gone', c.space.kv == nil, true)

-- truncate
c.space._truncate:upsert({600, 1}, {{'+', 2, 1}})
same('truncated', #s:select(), 0)
same('by the secondary index', #s.index.name:select(), 0)
same('insert after the truncate', s:insert({1, 'Roxette', 1986}), {1, 'Roxette', 1986})

-- guest sees the views and nothing more
local guest = connect()
same('views', guest.space._vspace ~= nil and guest.space._vindex ~= nil, true)
same('no spaces', guest.space.bands == nil, true)
same('views are filtered', #guest.space._vspace.index.name:select('bands'), 0)
if ours then same('catalog', #guest.space._pico_instance:select(), 1) end

-- users and grants
local function auth(pass) return {['chap-sha1'] = digest.base64_encode(digest.sha1(digest.sha1(pass)), {nowrap = true, nopad = false})} end
c.space._user:insert({40, 1, 'alice', 'user', auth('secret')})
c.space._user:insert({41, 1, 'readers', 'role', map})
local early = net_box.connect(address, {user = 'alice', password = 'secret', wait_connected = 10})
same('no session without a grant', {early.state, tostring(early.error)}, {'error', "Session access to universe '' is denied for user 'alice'"})
early:close()
c.space._priv:insert({1, 40, 'universe', 0, 24})
c.space._priv:insert({1, 40, 'role', 2, 4})
local alice = connect('alice', 'secret')
same('nothing is granted', alice.space.bands == nil, true)
c.space._priv:insert({1, 41, 'space', 600, 1})
c.space._priv:insert({1, 40, 'role', 41, 4})
alice:close()
alice = connect('alice', 'secret')
same('granted by a role', alice.space.bands:get(1), {1, 'Roxette', 1986})
refused('write', 42, "Write access to space 'bands' is denied for user 'alice'", alice.space.bands.insert, alice.space.bands, {50, 'x'})
c.space._priv:insert({1, 40, 'space', 600, 2})
same('granted by himself', alice.space.bands:insert({50, 'x'}), {50, 'x'})
refused('another space', 42, "Write access to space '_space' is denied for user 'alice'", function()
    c.space._priv:replace({1, 40, 'space', 280, 1})
    alice = connect('alice', 'secret')
    alice.space._space:insert({700, 40, 'hers', 'memtx', 0, map, none})
end)
refused('snapshot', 42, "Execute access to function 'box.snapshot' is denied for user 'alice'", alice.call, alice, 'box.snapshot')
c.space._priv:delete({40, 'space', 600})
refused('revoked', 42, "Write access to space 'bands' is denied for user 'alice'", alice.space.bands.insert, alice.space.bands, {51, 'x'})
c.space._user:update(40, {{'=', 5, auth('another')}})
local late = net_box.connect(address, {user = 'alice', password = 'secret', wait_connected = 10})
same('the old password', late.state ~= 'active', true)
late:close()
same('the new password', connect('alice', 'another').state, 'active')
same('users of the view', #c.space._vuser.index.name:select('alice'), 1)

if failures > 0 then os.exit(1) end
print('ok', checks)
os.exit(0)
