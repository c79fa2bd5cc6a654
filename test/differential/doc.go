// Package differential sends the same requests to Debian's tarantool and to our server and compares the replies and the
// final contents. Effects: processes, network, temporary files, all of them in its tests. It decides nothing: where the
// two differ, the other server is right, except for the few cases that the table of known differences names.
package differential
