package console

import (
	"fmt"
	"strings"
)

// help is what \help tells about one command.
type help struct {
	verb, usage, short string
	// more are further lines, examples among them.
	more string
}

// topics are the commands in the order of \help.
func topics() []help {
	return []help{
		{"select", "select SPACE [INDEX] [eq|req|all|lt|le|ge|gt KEY] [limit N] [offset N]", "read tuples",
			"Without a key all tuples are read. An array right after SPACE or INDEX is a key for eq.\n" +
				"  select users\n  select users eq 5\n  select users age ge 18 limit 10\n  select users [5]\n" +
				"The whole answer comes in one frame of up to 256 MiB: give a limit where there may be more."},
		{"get", "get SPACE KEY", "read the one tuple with this key in the primary index", "  get users 5\n  get pairs [1,\"a\"]"},
		{"insert", "insert SPACE TUPLE", "add a tuple, which must not be there", "  insert users [5,\"eve\",31]"},
		{"replace", "replace SPACE TUPLE", "add a tuple, or replace the one with the same primary key", "  replace users [5,\"eve\",32]"},
		{"update", "update SPACE [INDEX] KEY OPS", "change fields of the tuple with this key",
			"OPS is an array of [op, field, arguments]; one alone needs no further brackets. Fields by name, or by number from 1.\n" +
				"Operations: = + - & | ^ : (splice) ! (insert) # (delete).\n  update users 5 [[\"+\",\"age\",1],[\"=\",2,\"Eve\"]]"},
		{"upsert", "upsert SPACE TUPLE OPS", "add a tuple, or change the one with the same primary key", "  upsert hits [\"/\",1] [\"+\",2,1]"},
		{"delete", "delete SPACE [INDEX] KEY", "remove the tuple with this key", "  delete users 5\n  delete users email \"eve@x.org\""},
		{"call", "call NAME [ARGS...]", "call a function", "Each argument is a JSON value.\n  call box.info\n  call transfer 1 2 {\"sum\":10}"},
		{"count", "count SPACE [INDEX] [eq|req|all|lt|le|ge|gt KEY]", "count tuples",
			"The tuples are read a page at a time: inside a transaction they are those of one moment.\n  count users\n  count users age ge 18"},
		{"spaces", "spaces [all]", "list the spaces, with all also those of the system", "  spaces\n  spaces all"},
		{"indexes", "indexes SPACE", "list the indexes of a space", "  indexes users"},
		{"describe", "describe SPACE", "show the format and the indexes of a space", "  describe users"},
		{"create space", "create space NAME [FORMAT]", "make a space",
			"FORMAT is an array of fields: \"name\", [\"name\",\"type\"] or {\"name\":...,\"type\":...,\"is_nullable\":...}.\n" +
				"Short form: NAME:TYPE for each field, with ? behind it if it may be null.\n" +
				"Types: unsigned integer number double decimal string varbinary boolean uuid datetime interval scalar array map any.\n" +
				"  create space users id:unsigned name:string age:unsigned?\n  create space t [[\"id\",\"unsigned\"],\"rest\"]"},
		{"create index", "create index SPACE NAME [tree|hash] [unique|nonunique] PARTS", "make an index; the first one of a space is the primary one",
			"PARTS is an array of fields, by name or number from 1: \"id\", [2,\"string\"], {\"field\":\"age\",\"is_nullable\":true,\"collation\":...}.\n" +
				"Short form: FIELD or FIELD:TYPE for each part. A type that is not given is the format's.\n" +
				"  create index users pk id\n  create index users age nonunique [{\"field\":\"age\",\"is_nullable\":true}]"},
		{"drop space", "drop space SPACE", "remove a space with its tuples, indexes and grants",
			"This takes several requests: if one fails, those before it stay done, and the command can be given again.\n" +
				"  drop space users"},
		{"drop index", "drop index SPACE NAME", "remove an index", "  drop index users age"},
		{"truncate", "truncate SPACE", "remove all tuples of a space", "  truncate users"},
		{"begin", "begin [timeout SECONDS] [isolation LEVEL]", "open a transaction: what follows is done as a whole at commit, or not at all",
			"Transactions are serializable, whatever LEVEL says: " + strings.Join(isolations, ", ") + ".\n" +
				"If another one changes what this one has read, commit fails with error 97: do it again from begin on. The prompt shows a\n" +
				"star while a transaction is open, and an exclamation mark when it has failed and waits for rollback. A statement that fails\n" +
				"changes nothing, and the transaction goes on. Without commit nothing is written.\n" +
				"  begin\n  begin timeout 30 isolation read-confirmed"},
		{"commit", "commit", "write what the open transaction has done", "  commit"},
		{"rollback", "rollback", "forget what the open transaction has done", "  rollback"},
		{"watch", "watch KEY [COUNT]", "show the value of a key of the instance, and each newer one",
			"It ends after COUNT values, or with Ctrl-C. Keys: box.status, box.id, box.schema, box.shutdown, lycosa.state.\n" +
				"  watch lycosa.state\n  watch box.schema 1"},
		{"status", "status", "show where the instance stands", "  status"},
		{"ping", "ping", "ask for an empty answer", "  ping"},
		{"sql", "sql STATEMENT", "not in this version: SQL comes later", "  sql select 1"},
		{"lua", "lua CODE", "not in this version: Lua comes later", "  lua return 1"},
		{`\help`, `\help [COMMAND]`, "list the commands, or explain one with examples", "  \\help select"},
		{`\timing`, `\timing [on|off]`, "show how long each command took", "  \\timing on"},
		{`\format`, `\format table|json|yaml`, "choose how answers are shown: table, a line of JSON for each tuple, or YAML",
			"What JSON shows can be given to insert and replace as it is.\n  \\format json"},
		{`\x`, `\x [on|off]`, "in tables, show each field on a line of its own", "  \\x on"},
		{`\quit`, `\quit`, "end (Ctrl-D as well)", "  \\quit"},
	}
}

// valueHelp ends the list of commands.
const valueHelp = `
Spaces and indexes are named by name or number; put a name into double quotes if it has spaces or is a keyword or number.
KEY and TUPLE are JSON; a KEY of one part needs no brackets. Whole numbers keep all their digits, up to 64 bits; 1.0 is a double.
What JSON lacks, on the way in and out:
  {"$bin":"<base64>"} {"$hex":"00ff"}  bytes (varbinary)     {"$float":"NaN"}      NaN, Infinity, -Infinity
  {"$decimal":"12.50"}                 a decimal             {"$uuid":"<text>"}    a UUID
  {"$datetime":"2006-01-02T15:04:05Z"} a point in time       {"$ext":[6,"<hex>"]}  any extension type
  {"$map":[[1,"a"],[2,"b"]]}           a map with any keys   {"$str":"<base64>"}   a string that is not UTF-8
  {"$interval":{"month":1,"day":-3}}   a length of time: year month week day hour minute second nanosecond
An open bracket or quote goes on in the next line. -- or # begins a comment, a semicolon comes between commands on one line.
Ctrl-C interrupts the running command. Lines that look like secrets, or begin with a space, stay out of the history file.
`

// topic finds a command by its name or a short form of it.
func topic(verb string) *help {
	switch verb {
	case "help", `\h`, `\?`, "?":
		verb = `\help`
	case "quit", "exit", `\q`:
		verb = `\quit`
	case "status", `\s`:
		verb = "status"
	}
	for _, t := range topics() {
		if t.verb == verb {
			return &t
		}
	}
	return nil
}

// helpText is the answer to \help.
func helpText(about string) (string, error) {
	if about == "" {
		var b strings.Builder
		for _, t := range topics() {
			fmt.Fprintf(&b, "%-14s %s\n", t.verb, t.short)
		}
		return b.String() + valueHelp, nil
	}
	about = strings.ToLower(about)
	t := topic(about)
	if t == nil {
		t = topic(`\` + about)
	}
	if t != nil {
		text := t.usage + "\n" + t.short + "\n"
		if t.more != "" {
			text += t.more + "\n"
		}
		return text, nil
	}
	var found strings.Builder
	for _, t := range topics() {
		if strings.HasPrefix(t.verb, about+" ") {
			fmt.Fprintf(&found, "%s\n  %s\n", t.usage, t.short)
		}
	}
	if found.Len() == 0 {
		return "", unknownVerb(about)
	}
	return found.String(), nil
}
