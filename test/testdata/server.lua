-- A real tarantool as a server. Arguments: work directory, address, password of admin or nothing to keep what the
-- directory has. It ends with its standard input.
local fiber = require('fiber')
box.cfg{work_dir = arg[1], listen = arg[2], wal_mode = 'none', log_level = 1, memtx_memory = 64 * 1024 * 1024}
if arg[3] then box.schema.user.passwd('admin', arg[3]) end
print('ready')
io.stdout:flush()
fiber.create(function()
    local socket = require('socket')
    while socket.iowait(0, 'R', 3600) do
        if io.stdin:read(1) == nil then os.exit(0) end
    end
end)
