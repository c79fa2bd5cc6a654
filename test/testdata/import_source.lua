-- Fills a directory with the files of a Tarantool that was in use: arg[1] is the directory.
-- Half of the history is before a snapshot, half after it. At the end the process ends like a killed one.
box.cfg{work_dir = arg[1], log_level = 2, wal_max_size = 4096, checkpoint_count = 10}

jit.off()
local decimal, uuid = require('decimal'), require('uuid')
local s, u = box.schema.space, box.schema.user

-- Users, roles and grants: one user is dropped and its number used again.
u.create('ann', {password = 'secret'})
u.create('gone')
box.schema.role.create('reader')
box.schema.role.grant('public', 'read', 'space', '_truncate')
u.grant('ann', 'reader')

-- All types, indexes of all kinds that carry over, rows of each.
local all = s.create('all', {user = 'ann', format = {
    {'id', 'unsigned'}, {'i', 'integer'}, {'n', 'number'}, {'s', 'string', collation = 'unicode_ci'}, {'b', 'boolean'},
    {'v', 'varbinary'}, {'d', 'decimal'}, {'u', 'uuid'}, {'sc', 'scalar'}, {'m', 'map'}, {'a', 'array'},
    {'x', 'any', is_nullable = true}, {'f', 'double'}}})
all:create_index('pk', {parts = {{1, 'unsigned'}}})
all:create_index('hash', {type = 'hash', parts = {{8, 'uuid'}}})
all:create_index('name', {parts = {{4, 'string', collation = 'unicode_ci'}, {2, 'integer'}}, unique = false})
all:create_index('path', {parts = {{10, 'unsigned', path = 'k.n', is_nullable = true}}, unique = false})
all:create_index('null', {parts = {{12, 'string', is_nullable = true}}, unique = false})
all:create_index('dec', {parts = {{7, 'decimal'}, {1, 'unsigned'}}})
all:create_index('tags', {parts = {{11, 'string', path = '[*]'}}, unique = false})
local ffi = require('ffi')
local msgpack = require('msgpack')
local function bin(text) return msgpack.decode(string.char(0xc4, #text) .. text) end
local function row(i)
    return {i, -i, i % 3 == 0 and i or i + 0.5, 'Name' .. i % 50, i % 2 == 0, box.NULL, decimal.new(i) / 8,
        uuid.fromstr(string.format('aaaaaaaa-0000-4000-8000-%012d', i)), i % 2 == 0 and i or tostring(i), {k = {n = i}}, {'a', 'b' .. i},
        i % 4 == 0 and box.NULL or 'x' .. i, ffi.cast('double', i)}
end
local net = require('net.box')
box.cfg{listen = arg[1] .. '/sock'}
u.grant('guest', 'read,write', 'space', 'all')
-- A varbinary can only come in as raw MessagePack.
local put = net.connect(arg[1] .. '/sock')
local function insert(i)
    local body = msgpack.encode(row(i))
    local at = 1
    local head = body:sub(1, 1)
    assert(head == '\x9d')
    local fields, offset = {}, 2
    for n = 1, 13 do
        local _, after = msgpack.decode(body, offset)
        fields[n] = body:sub(offset, after - 1)
        offset = after
    end
    fields[6] = '\xc4\x02' .. string.char(i % 256, 0xff)
    local request = '\x82\x10' .. msgpack.encode(all.id) .. '\x21' .. head .. table.concat(fields)
    local header = '\x82\x00\x02\x01' .. msgpack.encode(i)
    local frame = header .. request
    local sock = rawget(_G, 'raw')
    if sock == nil then
        sock = require('socket').tcp_connect('unix/', arg[1] .. '/sock')
        sock:read(128)
        rawset(_G, 'raw', sock)
    end
    sock:write('\xce' .. string.char(0, 0, math.floor(#frame / 256), #frame % 256) .. frame)
    local size = msgpack.decode(sock:read(5))
    local reply = sock:read(size)
    local reply_header, after = msgpack.decode(reply)
    local reply_body = msgpack.decode(reply, after)
    assert(reply_header[0] == 0, reply_body[0x31])
end
for i = 1, 60 do insert(i) end
put:close()

-- Sequences: an autoincrement, one with steps down, one that is only used by hand, one that was reset.
local auto = s.create('auto', {format = {{'id', 'unsigned'}, {'v', 'string'}}})
auto:create_index('pk', {sequence = true})
auto:create_index('v', {parts = {'v'}})
for i = 1, 10 do auto:insert{box.NULL, 'v' .. i} end
local down = box.schema.sequence.create('down', {start = -1, step = -2, min = -100, max = 0, cycle = true})
down:next() down:next()
box.schema.sequence.create('never')
local again = box.schema.sequence.create('again')
again:set(77)

-- Spaces that come and go: the number of a dropped one is used again, one is emptied, one renamed.
local temp = s.create('short_lived', {id = 700})
temp:create_index('pk')
for i = 1, 100 do temp:insert{i, 'old'} end
local emptied = s.create('emptied')
emptied:create_index('pk')
for i = 1, 50 do emptied:insert{i} end
local old_name = s.create('old_name')
old_name:create_index('pk')
old_name:insert{1, 'kept'}
s.create('nothing')
s.create('scratch', {temporary = true}):create_index('pk')
s.create('local', {is_local = true}):create_index('pk')
box.space['local']:insert{1, 'here'}
local vinyl = s.create('vinyl', {engine = 'vinyl'})
vinyl:create_index('pk')
vinyl:create_index('sk', {parts = {{2, 'string'}}, unique = false})
for i = 1, 20 do vinyl:insert{i, 'v' .. i} end
local geo = s.create('geo')
geo:create_index('pk')
geo:create_index('rtree', {type = 'rtree', parts = {{2, 'array'}}, unique = false})
geo:insert{1, {1.5, 2.5}}
box.schema.func.create('stored', {language = 'LUA', body = 'function() return 1 end'})
u.grant('ann', 'execute', 'function', 'stored')
u.grant('ann', 'read,write', 'space', 'auto')
u.grant('ann', 'read', 'space', 'vinyl')
box.schema.role.grant('reader', 'read', 'space', 'all')
u.grant('ann', 'read,write', 'sequence', 'down')
box.execute([[CREATE TABLE checked (id INT PRIMARY KEY, n INT DEFAULT 5, CONSTRAINT positive CHECK (n > 0))]])
box.execute([[INSERT INTO checked VALUES (1, 2)]])
box.execute([[CREATE TABLE child (id INT PRIMARY KEY, parent INT REFERENCES checked(id))]])
box.execute([[INSERT INTO child VALUES (7, 1)]])
box.execute([[CREATE VIEW seen AS SELECT * FROM checked]])
box.once('setup', function() end)
box.snapshot()
vinyl:replace{1, 'changed'}
vinyl:delete{2}
box.snapshot()

-- After the snapshot.
for i = 61, 80 do insert(i) end
for i = 1, 20 do all:delete{i} end
for i = 21, 40 do all:update(i, {{'+', 2, 1000}, {'=', 4, 'Changed' .. i}, {'!', 12, 'inserted'}, {'#', 13, 1}}) end
all:upsert(all:get(41), {{'+', 2, 5}})
for i = 1, 5 do auto:insert{box.NULL, 'later' .. i} end
auto:insert{100, 'given'}
auto:insert{50, 'smaller'}
auto:upsert({1, 'v1'}, {{'=', 2, 'upserted'}})
auto:upsert({2000, 'new by upsert'}, {{'=', 2, 'no'}})
auto:replace{2, 'replaced'}
down:next()
again:reset()
temp:drop()
local reborn = s.create('reborn', {id = 700, format = {{'k', 'string'}}})
reborn:create_index('pk', {parts = {'k'}})
for i = 1, 30 do reborn:insert{'k' .. i, 'new'} end
emptied:truncate()
emptied:insert{1, 'after'}
old_name:rename('new_name')
old_name:format{{'id', 'unsigned'}, {'text', 'string'}}
old_name:create_index('text', {parts = {'text'}})
old_name:insert{2, 'more'}
u.drop('gone')
u.create('bob', {password = 'other'})
u.grant('bob', 'read,write,execute', 'universe')
u.passwd('ann', 'changed')
box.begin()
for i = 1, 200 do reborn:insert{'t' .. i, string.rep('x', 100)} end
reborn:delete{'k1'}
box.commit()
box.begin()
box.space['local']:insert{2, 'mixed'}
reborn:replace{'k2', 'mixed'}
box.commit()
ffi.cdef('int kill(int, int);')
ffi.C.kill(box.info.pid, 9)
