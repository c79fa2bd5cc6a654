-- The real server. Arguments: work directory, address, password of admin. It ends with its standard input.
local fiber = require('fiber')
box.cfg{work_dir = arg[1], listen = arg[2], wal_mode = 'none', log = arg[1] .. '/server.log', log_level = 3,
    memtx_memory = 256 * 1024 * 1024, checkpoint_interval = 0}
box.schema.user.passwd('admin', arg[3])
print('ready')
io.stdout:flush()
fiber.create(function()
    local socket = require('socket')
    while socket.iowait(0, 'R', 3600) do
        if io.stdin:read(1) == nil then os.exit(0) end
    end
end)
