// Package console is the command language of `lycosa connect`: a parser of commands, a session that sends them to an
// instance, and writers that show the answers as a table, JSON or YAML. Effects: network, terminal, standard streams, the
// history file, the clock (to tell how long a command took). What a request means and who may send it is decided by the
// server.
//
// The parser (lex.go, parse.go, value.go), completion (complete.go) and all rendering (render.go, output.go) are pure.
package console
