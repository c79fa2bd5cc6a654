package bench

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lycosadb/lycosa/internal/sys"
)

// The bounds of what is read about a server's processes.
const (
	processesMax = 64
	tasksMax     = 4096
	procFileMax  = 64 << 10
	// ticksPerSecond is the unit of times in /proc/PID/stat; it has been 100 on Linux for all its life.
	ticksPerSecond = 100
)

// ProcessUsage is what a process and its descendants use.
type ProcessUsage struct {
	// CPU is user and system time of all their threads, ended ones included, in steps of 10 ms.
	CPU time.Duration
	// RSSBytes is the resident memory. Pages that processes share count for each.
	RSSBytes  uint64
	Processes int
}

// ReadProcess adds up /proc/PID/stat of a process and of its descendants, at most 64 of them. CPU time of children that
// have ended already is not in it.
func ReadProcess(fsys sys.FS, pid int) (u ProcessUsage, err error) {
	todo := []int{pid}
	for len(todo) > 0 {
		if u.Processes++; u.Processes > processesMax {
			return u, fmt.Errorf("process %d has more than %d descendants", pid, processesMax)
		}
		p := todo[0]
		todo = todo[1:]
		stat, err := sys.ReadFile(fsys, fmt.Sprintf("/proc/%d/stat", p), procFileMax)
		if err != nil {
			if p != pid {
				continue // it has ended meanwhile
			}
			return u, fmt.Errorf("process %d: %w", pid, err)
		}
		one, err := parseStat(stat)
		if err != nil {
			return u, fmt.Errorf("process %d: %w", p, err)
		}
		u.CPU += one.CPU
		u.RSSBytes += one.RSSBytes
		children, err := childrenOf(fsys, p)
		if err != nil {
			return u, err
		}
		todo = append(todo, children...)
	}
	return u, nil
}

// parseStat reads utime, stime and rss, the fields 14, 15 and 24 of /proc/PID/stat. The second field is the name, in
// parentheses, and may hold anything.
func parseStat(stat []byte) (u ProcessUsage, err error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 22 {
		return u, errors.New("stat: too few fields")
	}
	var n [3]uint64
	for i, at := range []int{14 - 3, 15 - 3, 24 - 3} {
		if n[i], err = strconv.ParseUint(string(fields[at]), 10, 64); err != nil {
			return u, fmt.Errorf("stat: %w", err)
		}
	}
	u.CPU = time.Duration(n[0]+n[1]) * time.Second / ticksPerSecond
	u.RSSBytes = n[2] * uint64(unix.Getpagesize())
	return u, nil
}

// childrenOf lists the children of all threads of a process.
func childrenOf(fsys sys.FS, pid int) (children []int, err error) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, nil // it has ended meanwhile
	}
	if len(tasks) > tasksMax {
		return nil, fmt.Errorf("process %d has more than %d threads", pid, tasksMax)
	}
	for _, task := range tasks {
		text, err := sys.ReadFile(fsys, dir+"/"+task.Name()+"/children", procFileMax)
		if err != nil {
			continue
		}
		for _, word := range bytes.Fields(text) {
			child, err := strconv.Atoi(string(word))
			if err != nil {
				return nil, fmt.Errorf("children of process %d: %w", pid, err)
			}
			children = append(children, child)
		}
	}
	return children, nil
}
