package raftgroup

import (
	"fmt"

	"go.etcd.io/raft/v3"
)

// logger gives the library's log lines to Config.Log; its Fatal and Panic are broken invariants and stop the process.
type logger struct {
	log func(level Level, text string)
}

var _ raft.Logger = logger{}

func (l logger) line(level Level, v ...any) {
	if l.log != nil {
		l.log(level, fmt.Sprint(v...))
	}
}

func (l logger) linef(level Level, format string, v ...any) {
	if l.log != nil {
		l.log(level, fmt.Sprintf(format, v...))
	}
}

func (l logger) Debug(v ...any)                   { l.line(LevelDebug, v...) }
func (l logger) Debugf(format string, v ...any)   { l.linef(LevelDebug, format, v...) }
func (l logger) Info(v ...any)                    { l.line(LevelInfo, v...) }
func (l logger) Infof(format string, v ...any)    { l.linef(LevelInfo, format, v...) }
func (l logger) Warning(v ...any)                 { l.line(LevelWarn, v...) }
func (l logger) Warningf(format string, v ...any) { l.linef(LevelWarn, format, v...) }
func (l logger) Error(v ...any)                   { l.line(LevelError, v...) }
func (l logger) Errorf(format string, v ...any)   { l.linef(LevelError, format, v...) }
func (l logger) Fatal(v ...any)                   { panic("raft: " + fmt.Sprint(v...)) }
func (l logger) Fatalf(format string, v ...any)   { panic("raft: " + fmt.Sprintf(format, v...)) }
func (l logger) Panic(v ...any)                   { panic("raft: " + fmt.Sprint(v...)) }
func (l logger) Panicf(format string, v ...any)   { panic("raft: " + fmt.Sprintf(format, v...)) }
