package config

import (
	"bytes"
	"strconv"
	"strings"
)

// memoryFallbackBytes is the default quota on a machine that does not tell its memory.
const memoryFallbackBytes = 256 << 20

// defaultMemory is a quarter of what this process may use: of RAM, or of its control group's limit if that is less.
// The files of the kernel are read through the function that Load was given, so this stays a function of its inputs.
func defaultMemory(readFile func(string) ([]byte, error)) Size {
	usable := ramBytes(readFile)
	if limit := cgroupBytes(readFile); limit != 0 && (usable == 0 || limit < usable) {
		usable = limit
	}
	if usable == 0 {
		return memoryFallbackBytes
	}
	quarter := usable / 4 >> 20 << 20
	return Size(min(max(quarter, memoryBytesMin), memoryBytesMax))
}

func ramBytes(readFile func(string) ([]byte, error)) uint64 {
	data, err := readFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kib, err := strconv.ParseUint(fields[1], 10, 50)
			if err != nil {
				return 0
			}
			return kib << 10
		}
	}
	return 0
}

// cgroupBytes is the least limit on the way from this process's control group up to the root, 0 when there is none.
func cgroupBytes(readFile func(string) ([]byte, error)) uint64 {
	var least uint64
	consider := func(path string) {
		data, err := readFile(path)
		if err != nil {
			return
		}
		// "max" is no limit; version 1 writes a number beyond any machine instead.
		n, err := strconv.ParseUint(string(bytes.TrimSpace(data)), 10, 64)
		if err == nil && n != 0 && (least == 0 || n < least) {
			least = n
		}
	}
	own, err := readFile("/proc/self/cgroup")
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(own), "\n") {
		group, v2 := strings.CutPrefix(line, "0::")
		for ; v2; group = group[:strings.LastIndexByte(group, '/')] {
			consider("/sys/fs/cgroup" + strings.TrimSuffix(group, "/") + "/memory.max")
			if !strings.Contains(group, "/") {
				break
			}
		}
	}
	consider("/sys/fs/cgroup/memory/memory.limit_in_bytes")
	return least
}
