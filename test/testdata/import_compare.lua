-- Compares what a Tarantool recovers from a directory with what was imported. Arguments: the directory (which is changed),
-- the address and password of user admin of the imported one, and the names of the spaces that were not brought over.
local net_box, msgpack, fio = require('net.box'), require('msgpack'), require('fio')
local left_out = {}
for i = 4, #arg do left_out[arg[i]] = true end
for _, name in ipairs(fio.glob(fio.pathjoin(arg[1], '*.inprogress'))) do fio.unlink(name) end
box.cfg{work_dir = arg[1], log_level = 2}
local c = net_box.connect(arg[2], {user = 'admin', password = arg[3], wait_connected = 10})
if c.state ~= 'active' then error(tostring(c.error)) end

local bad = 0
local function check(ok, text, ...)
    if ok then return end
    bad = bad + 1
    print(text:format(...))
end

local function rows(list)
    local out = {}
    for _, t in ipairs(list) do table.insert(out, msgpack.encode(t)) end
    return out
end

local function same(what, a, b)
    check(#a == #b, '%s: %d rows there, %d here', what, #a, #b)
    for i = 1, math.min(#a, #b) do
        if a[i] ~= b[i] then
            check(false, '%s: row %d is %s there, %s here', what, i, require('json').encode(msgpack.decode(a[i])), require('json').encode(msgpack.decode(b[i])))
            return
        end
    end
end

local spaces, indexes = 0, 0
for _, t in box.space._space:pairs(512, {iterator = 'GE'}) do
    local theirs, ours = box.space[t.id], c.space[t.name]
    if left_out[t.name] then
        check(ours == nil, '%s: it was to be left out', t.name)
    elseif ours == nil then
        check(false, '%s: it is not here', t.name)
    else
        spaces = spaces + 1
        for id, index in pairs(theirs.index) do
            if type(id) == 'number' and ours.index[id] ~= nil and index.type == 'TREE' then
                indexes = indexes + 1
                same(t.name .. '.' .. index.name, rows(index:select{}), rows(ours.index[id]:select{}))
            elseif type(id) == 'number' and ours.index[id] ~= nil then
                indexes = indexes + 1
                local a, b = rows(index:select{}), rows(ours.index[id]:select{})
                table.sort(a)
                table.sort(b)
                same(t.name .. '.' .. index.name, a, b)
            elseif type(id) == 'number' then
                print('index ' .. t.name .. '.' .. index.name .. ' is not here')
            end
        end
    end
end

-- Sequences: what they would give next.
local numbers = {}
for _, t in ipairs(c.space._sequence:select{}) do numbers[t[3]] = t end
for name, sequence in pairs(box.sequence) do
    if type(name) == 'string' then
        local t = numbers[name]
        check(t ~= nil, 'sequence %s is not here', name)
        local started, value = pcall(sequence.current, sequence)
        local data = t and c.space._sequence_data:get(t[1])
        check((data ~= nil) == started, 'sequence %s has a value: %s there', name, tostring(started))
        check(not started or data ~= nil and data[2] == value, 'sequence %s: %s there, %s here', name, tostring(value), tostring(data))
        for i = 4, 9 do check(t[i] == box.space._sequence.index.name:get(name)[i], 'sequence %s: field %d', name, i) end
    end
end
if box.space.auto ~= nil then
    local a, b = box.space.auto:insert{box.NULL, 'next'}, c.space.auto:insert{box.NULL, 'next'}
    check(a[1] == b[1], 'auto: the next number is %s there, %s here', a[1], b[1])
end

-- Users and grants, by name.
local function names(select)
    local users, spaces, sequences = {}, {}, {}
    for _, t in ipairs(select('_user')) do users[t[1]] = t[3] end
    for _, t in ipairs(select('_space')) do spaces[t[1]] = t[3] end
    for _, t in ipairs(select('_sequence')) do sequences[t[1]] = t[3] end
    return {user = users, role = users, space = spaces, sequence = sequences}
end
local function grants(select)
    local n, out = names(select), {}
    for _, t in ipairs(select('_priv')) do
        local object = t[4]
        if n[t[3]] ~= nil and type(object) == 'number' then object = n[t[3]][object] end
        if t[3] ~= 'function' and t[2] ~= 31 and t[2] ~= 30 and t[2] ~= 1 and (t[2] >= 32 or t[2] == 0) then
            out[('%s %s %s'):format(n.user[t[2]], t[3], tostring(object))] = t[5]
        end
    end
    return out
end
local function there(name) return box.space[name]:select{} end
local function here(name) return c.space[name]:select{} end
local a, b = grants(there), grants(here)
for k, bits in pairs(a) do
    if not left_out[k:match('space (.*)$') or ''] then check(b[k] == bits, 'grant %s: %s there, %s here', k, bits, tostring(b[k])) end
end
for _, t in box.space._user:pairs(32, {iterator = 'GE'}) do
    local o = c.space._user.index.name:get(t.name)
    check(o ~= nil and o[4] == t.type and (o[5]['chap-sha1'] == t.auth['chap-sha1']), 'user %s: %s there, %s here', t.name, tostring(t), tostring(o))
end
check(not pcall(c.space.CHECKED.insert, c.space.CHECKED, {99, -1}), 'the check constraint is not in force')
check(c.space._schema:get('oncesetup') ~= nil, 'what box.once has done is not here')
check(c.space._schema:get('max_id')[2] >= 700, 'max_id is %s', tostring(c.space._schema:get('max_id')))
print(('%d spaces, %d indexes, %d differences'):format(spaces, indexes, bad))
os.exit(bad == 0 and 0 or 1)
